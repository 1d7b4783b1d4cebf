//! A disk that loses on command what was not synced, as a power cut does; that can be slow, and full.
//!
//! A FUSE file system (`layer`) over a file system in memory (`model`) that keeps beside everything as it is
//! what of it is on the medium. Nothing is assumed that a program has not asked for: bytes are on the medium
//! after `fsync` or `fdatasync` of their file or a write to a descriptor with `O_SYNC` or `O_DSYNC`. `close`,
//! `sync_file_range`, `sync`, `syncfs` and unmounting put nothing there (no request of the kernel tells of
//! them). What a sync does for names, sizes and other files is the [`Durability`]; a cut may also leave parts
//! of the unsynced, down to half a page: see [`Loss`]. Of modes and times a cut takes nothing.
//!
//! The crate `fuser` mounts by itself as root, and by `fusermount3` otherwise.

mod content;
mod layer;
mod model;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use fuser::{BackgroundSession, Config, MountOption};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

use self::{
    layer::{Layer, Medium},
    model::Model,
};

/// When names, sizes and removals are on the medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// As with ext4 and XFS: changes of names and truncations are one ordered log, and a sync of anything
    /// commits the log up to then. Bytes are there only where their own file was synced: a file may have
    /// its name and be empty.
    #[default]
    Journaled,
    /// As POSIX says and no more: names are there once their folder was synced.
    Strict,
}

/// What of the unsynced a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it.
    Everything,
    /// By this seed: of each page nothing, all, or its first sectors stay; of the names the first so many.
    Some(u64),
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Pages that were written and not synced.
    pub pages: usize,
    /// Creations, renames, removals and truncations.
    pub changes: usize,
}

const PREFIX: &str = "aftercall-disk-";
/// Pages of a disk: 8 GiB, of which only what is used costs memory.
const PAGES: u64 = 2 * 1024 * 1024;
/// How long processes that were killed may take to let go of their files.
const RELEASE: Duration = Duration::from_secs(10);

/// A mounted disk. Dropping it unmounts it, and all that is on it is gone.
#[derive(Debug)]
pub struct Disk {
    session: Option<BackgroundSession>,
    medium: Arc<Medium>,
    folder: PathBuf,
}

impl Disk {
    /// Mounts an empty disk on a temporary folder.
    ///
    /// # Errors
    /// A machine without FUSE, or a user who may not use it; the text says which.
    pub fn mount(durability: Durability) -> anyhow::Result<Self> {
        remove_stale();
        if !Path::new("/dev/fuse").exists() {
            bail!("there is no /dev/fuse on this machine");
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?.keep();
        let medium = Arc::new(Medium::new(Model::new(durability, PAGES, jiff::Timestamp::now().into())));
        let mut disk = Self { session: None, medium, folder };
        disk.power_on().context("FUSE cannot be used")?;
        Ok(disk)
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power and turns it on again: what was not synced is gone, as far as `loss` says. Every
    /// process with an open file on the disk must have been killed before.
    pub fn cut(&mut self, loss: Loss) -> anyhow::Result<Lost> {
        self.medium.off.store(true, Ordering::Relaxed);
        self.unmount()?;
        let toll = self.medium.model().cut(loss);
        self.medium.off.store(false, Ordering::Relaxed);
        self.power_on()?;
        Ok(toll)
    }

    /// Leaves no room: from now on what needs more is answered "no space left on device".
    pub fn fill(&self) {
        let mut model = self.medium.model();
        model.capacity = model.used;
    }

    /// Ends what [`Self::fill`] began.
    pub fn make_room(&self) {
        self.medium.model().capacity = PAGES;
    }

    /// Every sync takes so long from now on, one after the other.
    pub fn slow(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.medium.slow.store(micros, Ordering::Relaxed);
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("aftercall-disk".to_owned()),
            MountOption::NoAtime,
            MountOption::DefaultPermissions,
        ];
        self.session = Some(fuser::spawn_mount(Layer::new(self.medium.clone()), &self.folder, &config)?);
        Ok(())
    }

    /// Unmounts, which the kernel refuses as long as a file is open.
    fn unmount(&mut self) -> anyhow::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let deadline = Instant::now() + RELEASE;
        loop {
            match umount2(&self.folder, MntFlags::empty()) {
                Err(Errno::EBUSY) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::EBUSY) => {
                    self.session = Some(session);
                    bail!("a process still has a file open on {}", self.folder.display());
                }
                Ok(()) => return session.join().context("the disk ended with an error"),
                // EPERM: not root. Then the crate asks `fusermount3`.
                Err(_) => return session.umount_and_join().context("cannot unmount the disk"),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.medium.off.store(true, Ordering::Relaxed);
        if let Some(session) = self.session.take() {
            // Whatever is still open there: it answers EIO from now on.
            let _detached = umount2(&self.folder, MntFlags::MNT_DETACH);
            drop(session);
        }
        let _left = std::fs::remove_dir(&self.folder);
    }
}

/// Takes away the mounts of processes that were killed: nobody answers there any more.
fn remove_stale() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folders = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let ours = folders
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)));
    for folder in ours {
        let dead = std::fs::metadata(folder)
            .is_err_and(|error| error.raw_os_error() == Some(Errno::ENOTCONN as i32));
        if dead && umount2(folder, MntFlags::MNT_DETACH).is_ok() {
            let _left = std::fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests;
