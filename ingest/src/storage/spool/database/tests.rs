use super::*;
use crate::storage::spool::journal::tests::{ranges, webhook};

#[test]
fn an_id_is_removed_with_its_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = WebhookDatabase::open(folder.path()).unwrap();
    let append = |database: &mut WebhookDatabase| database.append(&[webhook("a")], 1024).unwrap();
    assert_eq!(append(&mut database), [Appended::Stored]);
    assert_eq!(append(&mut database), [Appended::Duplicate]);
    let all = ranges(&mut database);
    database.remove(&all).unwrap();
    assert_eq!(append(&mut database), [Appended::Stored]);
}
