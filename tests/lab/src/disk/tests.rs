//! Tests of the model through the kernel: system calls of a program, and the data after a power cut.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    time::{Duration, Instant},
};

use super::*;

/// A disk. `None`, with a message, if FUSE cannot be used.
fn disk() -> Option<Disk> {
    Disk::mount(Durability::Journaled).inspect_err(|error| eprintln!("skipped: {error:#}")).ok()
}

fn wrote(bytes: &[u8], mut file: File) -> File {
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn power_cut_keeps_only_synced_data() {
    let Some(mut disk) = disk() else { return };
    let path = |name: &str| disk.path().join(name);
    let (lost, synced, data, direct, half) =
        (path("lost"), path("synced"), path("data"), path("direct"), path("half"));
    fs::write(&lost, "x").unwrap();
    wrote(b"x", File::create(&synced).unwrap()).sync_all().unwrap();
    wrote(b"x", File::create(&data).unwrap()).sync_data().unwrap();
    let flags = nix::fcntl::OFlag::O_DSYNC.bits();
    let file = OpenOptions::new().write(true).create(true).custom_flags(flags).open(&direct).unwrap();
    drop(wrote(b"x", file));
    let file = wrote(b"one", File::create(&half).unwrap());
    file.sync_all().unwrap();
    file.write_all_at(b"two", 3).unwrap();
    drop(file); // Closing syncs nothing.
    assert_eq!(fs::read(&half).unwrap(), b"onetwo");

    let removed = disk.cut(Loss::Everything).unwrap();
    // The name of `lost` is kept, because the syncs of the other files made it durable. The bytes of `lost`
    // and the end of `half` are removed.
    assert_eq!(removed, Lost { pages: 2, changes: 0 });
    assert_eq!(fs::read(&lost).unwrap(), b"");
    for file in [&synced, &data, &direct] {
        assert_eq!(fs::read(file).unwrap(), b"x", "{}", file.display());
    }
    assert_eq!(fs::read(&half).unwrap(), b"one");
}

#[test]
fn names_removals_and_renames_are_durable_after_a_sync() {
    let Some(mut disk) = disk() else { return };
    let folder = disk.path().join("d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), "old").unwrap();
    File::open(folder.join("a")).unwrap().sync_all().unwrap();
    fs::write(folder.join("b"), "new").unwrap();
    fs::rename(folder.join("b"), folder.join("a")).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    disk.cut(Loss::Everything).unwrap();
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"old");

    fs::remove_file(folder.join("a")).unwrap();
    disk.cut(Loss::Everything).unwrap();
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"old");

    fs::remove_file(folder.join("a")).unwrap();
    File::open(&folder).unwrap().sync_all().unwrap();
    disk.cut(Loss::Everything).unwrap();
    assert!(!folder.join("a").exists() && folder.exists());
}

#[test]
fn full_disk_fails_writes_and_disk_with_an_open_file_cannot_be_cut() {
    let Some(disk) = disk() else { return };
    let path = disk.path().join("a");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    disk.fill();
    let error = file.write_all(&[1; 10_000]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.make_room();
    file.seek(SeekFrom::Start(10_000)).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut all = Vec::new();
    file.read_to_end(&mut all).unwrap();
    assert!(all.len() == 20_000 && all.iter().all(|byte| *byte == 1));
    disk.slow(Duration::from_millis(50));
    let begin = Instant::now();
    file.sync_all().unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(50));
}
