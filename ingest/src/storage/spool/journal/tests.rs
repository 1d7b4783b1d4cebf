use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use bytes::Bytes;

use super::*;
use crate::storage::message::webhook_id;

const MAX_BYTES: u64 = 1024 * 1024;

fn webhook(text: &str) -> Arc<Webhook> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", text);
    headers.append("Twice", "one");
    headers.append("Twice", "two: \"quoted\"");
    Arc::new(Webhook {
        subject: Subject::from("webhooks.x"),
        id: webhook_id("/", &[Bytes::copy_from_slice(text.as_bytes())]),
        headers,
        body: Body::unbudgeted(Bytes::copy_from_slice(text.as_bytes())),
    })
}

fn texts(journal: &Journal, position: u64, max_webhooks: usize, max_bytes: usize) -> Vec<String> {
    let records = journal.read(position, max_webhooks, max_bytes).unwrap();
    records.iter().map(|record| String::from_utf8(record.webhook.body.whole().to_vec()).unwrap()).collect()
}

#[test]
fn only_the_owner_may_read_the_spool_even_if_others_could_before() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("made").join("spool");
    for open_to_all in [false, true] {
        if open_to_all {
            fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(folder.join(FILE), Permissions::from_mode(0o644)).unwrap();
        }
        let mut journal = Journal::open(&folder).unwrap();
        let name = if open_to_all { "b" } else { "a" };
        assert_eq!(journal.append(&[webhook(name)], MAX_BYTES).unwrap(), [Appended::Stored]);
        assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    }
}

#[test]
fn stored_webhooks_are_read_in_order_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.append(&[webhook("a"), webhook("b")], MAX_BYTES).unwrap(), [Appended::Stored; 2]);
    assert_eq!(
        journal.append(&[webhook("c"), webhook("a")], MAX_BYTES).unwrap(),
        [Appended::Stored, Appended::Duplicate]
    );
    let size = journal.size();
    drop(journal);

    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.size(), size);
    assert_eq!(texts(&journal, 0, 10, 100), ["a", "b", "c"]);
    let record = &journal.read(0, 1, 100).unwrap()[0].webhook;
    let original = webhook("a");
    assert_eq!((record.id, &record.headers), (original.id, &original.headers));
    assert_eq!(record.subject, original.subject);

    journal.append(&[webhook("d")], MAX_BYTES).unwrap();
    assert_eq!(texts(&journal, 0, 10, 100), ["a", "b", "c", "d"], "positions continue where they ended");
}

#[test]
fn a_read_is_bounded_but_returns_at_least_one_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&[webhook("long one"), webhook("b"), webhook("c")], MAX_BYTES).unwrap();
    assert_eq!(texts(&journal, 0, 2, 100), ["long one", "b"]);
    assert_eq!(texts(&journal, 0, 10, 3), ["long one"], "the first webhook is read whatever its size");
    assert_eq!(texts(&journal, 1, 10, 100), ["b", "c"]);
}

#[test]
fn the_size_is_bounded_and_shrinks_with_each_removal() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&[webhook("a")], MAX_BYTES).unwrap();
    let max_bytes = journal.size().bytes * 2;
    assert_eq!(
        journal.append(&[webhook("b"), webhook("c")], max_bytes).unwrap(),
        [Appended::Stored, Appended::Full]
    );
    journal.remove(&[0, 17]).unwrap();
    assert_eq!(journal.append(&[webhook("c")], max_bytes).unwrap(), [Appended::Stored]);
    assert_eq!(texts(&journal, 0, 10, 100), ["b", "c"]);
    journal.remove(&[1, 2]).unwrap();
    assert_eq!(journal.size(), JournalSize::default());
    assert_eq!(
        journal.append(&[webhook("a")], max_bytes).unwrap(),
        [Appended::Stored],
        "its id was removed with it"
    );
}

#[test]
fn only_one_process_can_open_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let _open = Journal::open(folder.path()).unwrap();
    assert!(matches!(Journal::open(folder.path()), Err(redb::Error::DatabaseAlreadyOpen)));
}
