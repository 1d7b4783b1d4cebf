use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
};

use proptest::prelude::*;

use super::*;
use crate::storage::spool::journal::tests::{ranges, texts, webhook};

const MAX_BYTES: u64 = 256 * 1024 * 1024;

fn open(folder: &Path) -> WebhookLog {
    WebhookLog::open(folder).unwrap()
}

/// A text of about `kib` KiB.
fn long(name: &str, kib: usize) -> String {
    format!("{name} {}", "x".repeat(kib * 1024))
}

/// The first words of all webhooks.
fn words(log: &mut WebhookLog) -> Vec<String> {
    let first = |text: String| text.split(' ').next().unwrap().to_owned();
    texts(log, 0, usize::MAX, usize::MAX).into_iter().map(first).collect()
}

fn append(log: &mut WebhookLog, text: &str) {
    assert_eq!(log.append(&[webhook(text)], MAX_BYTES).unwrap(), [Appended::Stored]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "log")).collect();
    files.sort();
    files
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_record_that_was_not_written_completely_ends_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for text in ["a", "b", "c"] {
        append(&mut log, text);
    }
    let last = ranges(&mut log).pop().unwrap();
    drop(log);
    let (_, end) = split(last.end);
    overwrite(&files(folder.path())[0], end - 1, b"?");
    let mut log = open(folder.path());
    assert_eq!(words(&mut log), ["a", "b"]);
    append(&mut log, "d");
    drop(log);
    assert_eq!(words(&mut open(folder.path())), ["a", "b", "d"]);
}

#[test]
fn removed_webhooks_stay_removed_after_a_crash_as_far_as_they_were_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for text in ["a", "b", "c", "d"] {
        append(&mut log, text);
    }
    let all = ranges(&mut log);
    log.remove(&[all[0].clone(), all[1].clone(), all[3].clone()]).unwrap();
    assert_eq!(words(&mut log), ["c"]);
    append(&mut log, "e");
    drop(log);
    assert_eq!(words(&mut open(folder.path())), ["c", "d", "e"]);
}

#[test]
fn files_are_used_again_and_their_earlier_webhooks_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for n in 0..150 {
        append(&mut log, &long(&format!("a{n}"), 1000));
        if n % 10 == 9 {
            let all = ranges(&mut log);
            log.remove(&all).unwrap();
        }
    }
    assert_eq!(log.size(), JournalSize::default());
    assert!(files(folder.path()).len() <= 1 + MAX_SPARES, "{:?}", files(folder.path()));
    // The bytes after this record are those of an earlier use.
    append(&mut log, &long("b", 1000));
    drop(log);
    assert_eq!(words(&mut open(folder.path())), ["b"]);
}

#[test]
fn a_webhook_that_is_larger_than_a_file_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, "a");
    append(&mut log, &long("large", 20 * 1024));
    append(&mut log, "b");
    drop(log);
    let mut log = open(folder.path());
    assert_eq!(words(&mut log), ["a", "large", "b"]);
    let all = ranges(&mut log);
    log.remove(&all).unwrap();
    drop(log);
    drop(open(folder.path()));
    let largest = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).max();
    assert_eq!(largest, Some(SEGMENT_BYTES + segment::START), "its file is not kept");
}

#[test]
fn the_files_are_bounded_if_a_webhook_is_left_in_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    let max_bytes = 16 * 1024 * 1024;
    for n in 0..200 {
        let outcome = log.append(&[webhook(&long(&format!("a{n}"), 1000))], max_bytes).unwrap();
        if outcome == [Appended::Full] {
            break;
        }
        // One webhook in sixteen is left.
        let all = ranges(&mut log);
        let last = all.last().unwrap().clone();
        if n % 16 != 0 {
            log.remove(&[last]).unwrap();
        }
    }
    let size: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(size <= max_bytes + (EXTRA_SEGMENTS + MAX_SPARES as u64) * (SEGMENT_BYTES + 64), "{size}");
    assert!(log.size().bytes <= max_bytes);
    // With the webhooks their files go.
    let all = ranges(&mut log);
    log.remove(&all).unwrap();
    append(&mut log, "b");
    assert_eq!(words(&mut log), ["b"]);
}

/// Changes a byte in the body of the second of 20 webhooks.
fn damage_second(log: &mut WebhookLog, folder: &Path) {
    for n in 0..20 {
        append(log, &long(&format!("a{n:02}"), 1000));
    }
    let second = ranges(log)[1].clone();
    let (_, offset) = split(second.start);
    overwrite(&files(folder)[0], offset + 500, b"?");
    log.window = Window::default(); // What is in memory is not damaged.
}

#[test]
fn a_damaged_webhook_is_left_out_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    damage_second(&mut log, folder.path());
    assert_eq!(words(&mut log), ["a00"], "those before it are read first");
    let others: Vec<_> = (0..20).filter(|n| *n != 1).map(|n| format!("a{n:02}")).collect();
    assert_eq!(words(&mut log), others);
    assert_eq!(log.size().webhooks, 19);
    let all = ranges(&mut log);
    log.remove(&all).unwrap();
    assert_eq!(log.size(), JournalSize::default());
}

#[test]
fn a_damaged_webhook_is_left_out_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    damage_second(&mut log, folder.path());
    drop(log);
    let mut log = open(folder.path());
    let others: Vec<_> = (0..20).filter(|n| *n != 1).map(|n| format!("a{n:02}")).collect();
    assert_eq!(words(&mut log), others);
}

#[test]
fn a_file_without_a_valid_head_is_kept_for_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    damage_second(&mut log, folder.path());
    drop(log);
    overwrite(&files(folder.path())[0], 9, b"?");
    let mut log = open(folder.path());
    assert_eq!(words(&mut log).first().map(String::as_str), Some("a16"), "the second file is read");
    let names = fs::read_dir(folder.path().join(FOLDER)).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(names.filter(|path| path.extension().is_some_and(|kind| kind == "damaged")).count(), 1);
    append(&mut log, "b");
    assert_eq!(words(&mut log).last().map(String::as_str), Some("b"));
}

#[test]
fn opening_the_log_again_and_again_takes_no_more_room() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        append(&mut open(folder.path()), &format!("a{n:02}"));
    }
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(words(&mut open(folder.path())).len(), 20);
}

#[test]
fn a_file_whose_creation_was_interrupted_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    append(&mut open(folder.path()), "a");
    let interrupted = folder.path().join(FOLDER).join("0000000000000009.log");
    fs::write(&interrupted, [0; 100]).unwrap();
    drop(open(folder.path()));
    assert!(!interrupted.exists());
}

/// A step of a random test.
#[derive(Clone, Debug)]
enum Step {
    /// Adds a webhook with a body of this many KiB.
    Append(usize),
    /// Removes the webhook with this index, counted from the oldest.
    Remove(usize),
    /// Removes all webhooks.
    RemoveAll,
    /// Closes and opens the log.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..3000).prop_map(Step::Append),
        3 => (0_usize..20).prop_map(Step::Remove),
        1 => Just(Step::RemoveAll),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// No webhook is lost, none appears that was never added, and their order is that of their arrival. After the log
    /// was opened again, removed webhooks may be in it.
    #[test]
    fn no_webhook_is_lost(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        let (mut live, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append(kib) => {
                    append(&mut log, &long(&format!("w{n:04}"), kib));
                    live.insert(format!("w{n:04}"));
                }
                Step::Remove(index) => {
                    let (words, ranges) = (words(&mut log), ranges(&mut log));
                    if let Some((word, range)) = words.into_iter().zip(ranges).nth(index) {
                        log.remove(&[range]).unwrap();
                        live.remove(&word);
                        removed.insert(word);
                    }
                }
                Step::RemoveAll => {
                    let all = ranges(&mut log);
                    log.remove(&all).unwrap();
                    removed.append(&mut live);
                }
                Step::Reopen => {
                    drop(log);
                    log = open(folder.path());
                    let found: BTreeSet<_> = words(&mut log).into_iter().collect();
                    prop_assert!(found.is_subset(&live.union(&removed).cloned().collect()));
                    prop_assert!(live.is_subset(&found), "{live:?} {found:?}");
                    live = found;
                }
            }
            let found = words(&mut log);
            prop_assert!(found.is_sorted());
            prop_assert_eq!(found.len() as u64, log.size().webhooks);
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), live.clone());
        }
    }
}
