//! Cases of data that survive a power cut.

use std::time::SystemTime;

use super::*;
use crate::disk::{Loss, Lost};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A file system and the paths in it.
struct Disk(Model);

impl Disk {
    fn new(durability: Durability) -> Self {
        Self(Model::new(durability, 1000, NOW))
    }

    fn find(&mut self, path: &str) -> Option<u64> {
        path.split('/').try_fold(ROOT, |folder, name| Some(self.0.lookup(folder, name.as_ref()).ok()?.ino))
    }

    fn place<'a>(&mut self, path: &'a str) -> (u64, &'a OsStr) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() { ROOT } else { self.find(folder).unwrap() };
        (folder, name.as_ref())
    }

    fn folder(&mut self, path: &str) {
        let place = self.place(path);
        self.0.create(place, true, 0o755, NOW).unwrap();
    }

    /// Writes `text` at the beginning of the file. Creates the file if it is missing.
    fn write(&mut self, path: &str, text: &str) -> u64 {
        let ino = self.find(path).unwrap_or_else(|| {
            let place = self.place(path);
            self.0.create(place, false, 0o644, NOW).unwrap().ino
        });
        self.0.write(ino, 0, text.as_bytes(), NOW).unwrap();
        ino
    }

    fn sync(&mut self, path: &str) {
        let ino = self.find(path).unwrap();
        self.0.sync(ino, false).unwrap();
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (self.place(from), self.place(to));
        self.0.rename(from, to, true).unwrap();
    }

    fn remove(&mut self, path: &str) {
        let (folder, name) = self.place(path);
        self.0.remove(folder, name, false).unwrap();
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let ino = self.find(path)?;
        Some(String::from_utf8(self.0.read(ino, 0, 100_000).unwrap()).unwrap())
    }

    fn cut(&mut self) -> Lost {
        self.0.cut(Loss::Everything)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "to be compared with what `Disk::text` gives")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn power_cut_removes_unsynced_bytes_and_keeps_synced_ones() {
    let mut disk = Disk::new(Durability::Journaled);
    disk.write("a", "one");
    disk.sync("a");
    disk.write("a", "two and more");
    disk.write("b", "one");
    assert_eq!(disk.text("a"), some("two and more"));
    let lost = disk.cut();
    assert_eq!((disk.text("a"), disk.text("b")), (some("one"), None));
    assert_eq!(lost, Lost { pages: 2, changes: 1 });
}

#[test]
fn sync_of_a_file_keeps_its_name_if_journaled_but_not_if_strict() {
    for (durability, kept) in [(Durability::Journaled, some("x")), (Durability::Strict, None)] {
        let mut disk = Disk::new(durability);
        disk.folder("d");
        disk.write("d/a", "x");
        disk.sync("d/a");
        disk.cut();
        assert_eq!(disk.text("d/a"), kept, "{durability:?}");
    }
    let mut disk = Disk::new(Durability::Strict);
    disk.folder("d");
    disk.write("d/a", "x");
    disk.sync("d/a");
    disk.sync("d");
    disk.0.sync(ROOT, false).unwrap();
    disk.cut();
    assert_eq!(disk.text("d/a"), some("x"));
}

#[test]
fn journaled_sync_of_one_file_keeps_names_but_not_bytes_of_others() {
    let mut disk = Disk::new(Durability::Journaled);
    disk.write("empty", "never synced");
    disk.write("other", "x");
    disk.sync("other");
    disk.cut();
    assert_eq!(disk.text("empty"), some(""), "the file has its name, and no bytes");
}

#[test]
fn power_cut_undoes_a_rename_without_a_sync_of_the_folder() {
    for durability in [Durability::Journaled, Durability::Strict] {
        let mut disk = Disk::new(durability);
        disk.write("a", "old");
        disk.sync("a");
        disk.0.sync(ROOT, false).unwrap();
        disk.write("a.tmp", "new");
        disk.sync("a.tmp");
        disk.rename("a.tmp", "a");
        assert_eq!((disk.text("a"), disk.text("a.tmp")), (some("new"), None));
        disk.cut();
        assert_eq!(disk.text("a"), some("old"), "{durability:?}");

        disk.write("b.tmp", "new");
        disk.sync("b.tmp");
        disk.rename("b.tmp", "a");
        disk.0.sync(ROOT, false).unwrap();
        disk.cut();
        assert_eq!((disk.text("a"), disk.text("b.tmp")), (some("new"), None), "{durability:?}");
    }
}

#[test]
fn rename_over_a_synced_file_can_lose_both_files() {
    let mut disk = Disk::new(Durability::Journaled);
    disk.write("a", "old");
    disk.sync("a");
    disk.write("a.tmp", "new"); // The file is not synced before the rename.
    disk.rename("a.tmp", "a");
    disk.0.sync(ROOT, false).unwrap();
    disk.cut();
    assert_eq!(disk.text("a"), some(""));
}

#[test]
fn power_cut_undoes_an_unsynced_removal() {
    let mut disk = Disk::new(Durability::Journaled);
    disk.write("a", "x");
    disk.sync("a");
    disk.remove("a");
    assert_eq!(disk.text("a"), None);
    disk.cut();
    assert_eq!(disk.text("a"), some("x"));
    disk.remove("a");
    disk.0.sync(ROOT, false).unwrap();
    disk.cut();
    assert_eq!(disk.text("a"), None);
}

#[test]
fn truncation_is_durable_after_a_sync_and_removes_the_old_bytes() {
    let mut disk = Disk::new(Durability::Journaled);
    let ino = disk.write("a", "one");
    disk.sync("a");
    disk.0.resize(ino, 0, NOW).unwrap();
    disk.cut();
    assert_eq!(disk.text("a"), some("one"));

    // The sync of another file makes the truncation durable, but not the bytes written after it.
    disk.0.resize(ino, 0, NOW).unwrap();
    disk.write("a", "two");
    disk.write("b", "x");
    disk.sync("b");
    disk.cut();
    assert_eq!(disk.text("a"), some(""));

    // The file is shortened and extended again. The bytes in between are zeros, also after a power cut.
    disk.write("a", "three");
    disk.sync("a");
    disk.0.resize(ino, 2, NOW).unwrap();
    disk.0.resize(ino, 4, NOW).unwrap();
    disk.sync("a");
    disk.cut();
    assert_eq!(disk.text("a"), some("th\0\0"));
}

#[test]
fn data_sync_makes_the_size_durable() {
    let mut disk = Disk::new(Durability::Journaled);
    let ino = disk.write("a", "one");
    disk.0.sync(ino, true).unwrap();
    disk.0.write(ino, 3, b"two", NOW).unwrap();
    disk.0.sync(ino, true).unwrap();
    disk.cut();
    assert_eq!(disk.text("a"), some("onetwo"));
}

#[test]
fn partial_loss_is_determined_by_the_seed() {
    let run = |seed| {
        let mut disk = Disk::new(Durability::Journaled);
        disk.write("synced", "x");
        disk.sync("synced");
        for n in 0..20 {
            disk.write(&format!("f{n}"), &"y".repeat(3 * PAGE));
        }
        let lost = disk.0.cut(Loss::Some(seed));
        assert_eq!(disk.text("synced"), some("x"));
        let texts: Vec<_> = (0..20).map(|n| disk.text(&format!("f{n}"))).collect();
        (lost, texts)
    };
    let (lost, texts) = run(3);
    assert_eq!(run(3), (lost, texts.clone()));
    assert_ne!(run(4).1, texts);
    assert!(lost.changes > 0 && lost.pages > 0);
    let kept: Vec<_> = texts.iter().map(Option::is_some).collect();
    assert!(kept.is_sorted_by(|a, b| a >= b) && kept[0], "a later file kept its name: {kept:?}");
    assert!(texts.iter().flatten().any(|text| text.contains('\0')), "no file has a hole");
    assert!(texts.iter().flatten().any(|text| text.len() % PAGE != 0), "no file ends within a page");
}

#[test]
fn write_beyond_the_capacity_fails() {
    let mut disk = Disk(Model::new(Durability::Journaled, 3, NOW));
    let ino = disk.write("a", "x");
    assert_eq!(disk.0.write(ino, 0, &[1; 4 * PAGE], NOW), Err(Errno::ENOSPC));
    disk.0.write(ino, 0, &[1; 3 * PAGE], NOW).unwrap();
    disk.0.write(ino, 5, b"room is needed once", NOW).unwrap();
    assert_eq!(disk.0.create((ROOT, "b".as_ref()), false, 0, NOW), Err(Errno::ENOSPC));
    disk.0.resize(ino, 1, NOW).unwrap();
    assert_eq!(disk.0.free(), 2 * PAGE as u64);
    disk.0.create((ROOT, "b".as_ref()), false, 0, NOW).unwrap();
}

#[test]
fn removed_and_synced_file_frees_its_space() {
    let mut disk = Disk::new(Durability::Journaled);
    for n in 0..10 * SWEEP_AFTER {
        let name = format!("f{n}");
        let ino = disk.write(&name, "x");
        disk.sync(&name);
        disk.remove(&name);
        disk.0.forget(ino, 100);
    }
    disk.0.sync(ROOT, false).unwrap();
    disk.0.sweep();
    assert_eq!((disk.0.used, disk.0.inodes.len()), (0, 1));
}
