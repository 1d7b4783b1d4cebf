use bytes::Bytes;

use super::*;
use crate::storage::message::webhook_id;

const ROOM: u64 = 1024 * 1024;

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

fn texts(journal: &Journal, place: u64, count: usize, bytes: usize) -> Vec<String> {
    let records = journal.read(place, count, bytes).unwrap();
    records.iter().map(|record| String::from_utf8(record.webhook.body.whole().to_vec()).unwrap()).collect()
}

#[test]
fn nobody_else_may_read_the_spool_whatever_was_there_before() {
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
        assert_eq!(journal.append(&[webhook(name)], ROOM).unwrap(), [Appended::Kept]);
        assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    }
}

#[test]
fn what_was_kept_is_read_in_order_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.append(&[webhook("a"), webhook("b")], ROOM).unwrap(), [Appended::Kept; 2]);
    assert_eq!(
        journal.append(&[webhook("c"), webhook("a")], ROOM).unwrap(),
        [Appended::Kept, Appended::Duplicate]
    );
    let held = journal.held();
    drop(journal);

    let mut journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.held(), held);
    assert_eq!(texts(&journal, 0, 10, 100), ["a", "b", "c"]);
    let record = &journal.read(0, 1, 100).unwrap()[0].webhook;
    let original = webhook("a");
    assert_eq!((record.id, &record.headers), (original.id, &original.headers));
    assert_eq!(record.subject, original.subject);

    journal.append(&[webhook("d")], ROOM).unwrap();
    assert_eq!(texts(&journal, 0, 10, 100), ["a", "b", "c", "d"], "places go on where they ended");
}

#[test]
fn reading_is_bounded_but_never_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&[webhook("long one"), webhook("b"), webhook("c")], ROOM).unwrap();
    assert_eq!(texts(&journal, 0, 2, 100), ["long one", "b"]);
    assert_eq!(texts(&journal, 0, 10, 3), ["long one"], "a single one is read whatever its size");
    assert_eq!(texts(&journal, 1, 10, 100), ["b", "c"]);
}

#[test]
fn room_is_bounded_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.append(&[webhook("a")], ROOM).unwrap();
    let most = journal.held().bytes * 2;
    assert_eq!(
        journal.append(&[webhook("b"), webhook("c")], most).unwrap(),
        [Appended::Kept, Appended::Full]
    );
    journal.remove(&[0, 17]).unwrap();
    assert_eq!(journal.append(&[webhook("c")], most).unwrap(), [Appended::Kept]);
    assert_eq!(texts(&journal, 0, 10, 100), ["b", "c"]);
    journal.remove(&[1, 2]).unwrap();
    assert_eq!(journal.held(), Held::default());
    assert_eq!(journal.append(&[webhook("a")], most).unwrap(), [Appended::Kept], "its id went with it");
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let _open = Journal::open(folder.path()).unwrap();
    assert!(matches!(Journal::open(folder.path()), Err(redb::Error::DatabaseAlreadyOpen)));
}
