use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use super::*;
use crate::{
    admission::body::Body,
    storage::{
        message::webhook_id,
        spool::{database::WebhookDatabase, log::WebhookLog},
    },
};

const MAX_BYTES: u64 = 64 * 1024 * 1024;

pub fn webhook(text: &str) -> Arc<Webhook> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", text.split(' ').next().unwrap());
    headers.append("Twice", "one");
    headers.append("Twice", "two: \"quoted\"");
    Arc::new(Webhook {
        subject: Subject::from("webhooks.x"),
        id: webhook_id("/", &[Bytes::copy_from_slice(text.as_bytes())]),
        headers,
        body: Body::unbudgeted(Bytes::copy_from_slice(text.as_bytes())),
    })
}

/// The bodies of webhooks from `start` on.
pub fn texts<J: Journal>(journal: &mut J, start: u64, max_webhooks: usize, max_bytes: usize) -> Vec<String> {
    let records = journal.read(start, max_webhooks, max_bytes).unwrap();
    records.iter().map(|record| String::from_utf8(record.webhook.body.whole().to_vec()).unwrap()).collect()
}

pub fn ranges<J: Journal>(journal: &mut J) -> Vec<RecordRange> {
    journal.read(0, usize::MAX, usize::MAX).unwrap().into_iter().map(|record| record.range).collect()
}

/// Runs a test for each kind of journal.
macro_rules! for_each_kind {
    ($($test:ident)*) => {$(
        #[test]
        fn $test() {
            generic::$test::<WebhookDatabase>();
            generic::$test::<WebhookLog>();
        }
    )*};
}

for_each_kind! {
    stored_webhooks_are_read_in_order_after_reopening
    a_read_is_bounded_but_returns_at_least_one_webhook
    the_size_is_bounded_and_shrinks_with_each_removal
    only_one_process_can_open_the_journal
    only_the_owner_may_read_the_spool_even_if_others_could_before
}

mod generic {
    use super::*;

    pub fn stored_webhooks_are_read_in_order_after_reopening<J: Journal>() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!J::exists(folder.path()));
        let mut journal = J::open(folder.path()).unwrap();
        assert!(J::exists(folder.path()));
        assert_eq!(journal.append(&[webhook("a"), webhook("b")], MAX_BYTES).unwrap(), [Appended::Stored; 2]);
        assert_eq!(
            journal.append(&[webhook("c"), webhook("a"), webhook("c")], MAX_BYTES).unwrap(),
            [Appended::Stored, Appended::Duplicate, Appended::Duplicate]
        );
        let size = journal.size();
        assert_eq!(size.webhooks, 3);
        drop(journal);

        let mut journal = J::open(folder.path()).unwrap();
        assert_eq!(journal.size(), size);
        assert_eq!(texts(&mut journal, 0, 10, 100), ["a", "b", "c"]);
        let record = &journal.read(0, 1, 100).unwrap()[0].webhook;
        let original = webhook("a");
        assert_eq!((record.id, &record.headers), (original.id, &original.headers));
        assert_eq!(record.subject, original.subject);

        journal.append(&[webhook("d")], MAX_BYTES).unwrap();
        assert_eq!(
            texts(&mut journal, 0, 10, 100),
            ["a", "b", "c", "d"],
            "positions continue where they ended"
        );
    }

    pub fn a_read_is_bounded_but_returns_at_least_one_webhook<J: Journal>() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = J::open(folder.path()).unwrap();
        journal.append(&[webhook("long one"), webhook("b"), webhook("c")], MAX_BYTES).unwrap();
        assert_eq!(texts(&mut journal, 0, 2, 100), ["long one", "b"]);
        assert_eq!(
            texts(&mut journal, 0, 10, 3),
            ["long one"],
            "the first webhook is read whatever its size"
        );
        let first_end = ranges(&mut journal)[0].end;
        assert_eq!(texts(&mut journal, first_end, 10, 100), ["b", "c"]);
    }

    pub fn the_size_is_bounded_and_shrinks_with_each_removal<J: Journal>() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = J::open(folder.path()).unwrap();
        journal.append(&[webhook("a")], MAX_BYTES).unwrap();
        let max_bytes = journal.size().bytes * 2;
        assert_eq!(
            journal.append(&[webhook("b"), webhook("c")], max_bytes).unwrap(),
            [Appended::Stored, Appended::Full]
        );
        let first = ranges(&mut journal)[0].clone();
        let beyond = 1 << 40;
        journal.remove(&[first.clone(), first, beyond..beyond + 9]).unwrap();
        assert_eq!(journal.append(&[webhook("c")], max_bytes).unwrap(), [Appended::Stored]);
        assert_eq!(texts(&mut journal, 0, 10, 100), ["b", "c"]);
        let all = ranges(&mut journal);
        journal.remove(&all).unwrap();
        assert_eq!(journal.size(), JournalSize::default());
        assert_eq!(journal.append(&[webhook("d")], max_bytes).unwrap(), [Appended::Stored]);
    }

    pub fn only_one_process_can_open_the_journal<J: Journal>() {
        let folder = tempfile::tempdir().unwrap();
        let open = J::open(folder.path()).unwrap();
        assert!(J::open(folder.path()).is_err());
        drop(open);
        drop(J::open(folder.path()).unwrap());
    }

    pub fn only_the_owner_may_read_the_spool_even_if_others_could_before<J: Journal>() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("made").join("spool");
        for open_to_all in [false, true] {
            if open_to_all {
                for path in tree(&folder) {
                    let mode = if path.is_dir() { 0o755 } else { 0o644 };
                    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
                }
            }
            let mut journal = J::open(&folder).unwrap();
            let name = if open_to_all { "b" } else { "a" };
            assert_eq!(journal.append(&[webhook(name)], MAX_BYTES).unwrap(), [Appended::Stored]);
            for path in tree(&folder) {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            }
        }
    }

    /// A folder and all files in it.
    fn tree(folder: &Path) -> Vec<std::path::PathBuf> {
        let mut paths = vec![folder.to_owned()];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { paths.extend(tree(&path)) } else { paths.push(path) }
        }
        paths
    }
}
