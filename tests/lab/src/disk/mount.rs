//! Mounts the file system, cuts its power, fills it and slows it down.

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

use super::{
    layer::{Layer, Medium},
    model::Model,
    power_cut::{Durability, Loss, Lost},
};

/// Prefix of mount folders, by which disks of killed processes are recognized.
const PREFIX: &str = "aftercall-disk-";
/// Capacity in pages: 8 GiB. Only pages in use cost memory.
const PAGES: u64 = 2 * 1024 * 1024;
/// Longest time until the kernel has closed the files of killed processes.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// A mounted disk. Dropping it unmounts the disk and frees its content.
#[derive(Debug)]
pub struct Disk {
    session: Option<BackgroundSession>,
    medium: Arc<Medium>,
    folder: PathBuf,
}

impl Disk {
    /// Mounts an empty disk on a temporary folder. Fails if the machine has no FUSE or the user may not use
    /// it.
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

    /// Root folder of the disk.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Cuts the power and turns it on again. `loss` selects the unsynced data that is removed.
    ///
    /// Fails if a process still has a file open on the disk after 10 seconds.
    pub fn cut(&mut self, loss: Loss) -> anyhow::Result<Lost> {
        self.medium.off.store(true, Ordering::Relaxed);
        self.unmount()?;
        let removed = self.medium.model().cut(loss);
        self.medium.off.store(false, Ordering::Relaxed);
        self.power_on()?;
        Ok(removed)
    }

    /// Fills the disk. Writes that need more space fail with "no space left on device".
    pub fn fill(&self) {
        let mut model = self.medium.model();
        model.capacity = model.used;
    }

    /// Ends the effect of [`Self::fill`].
    pub fn make_room(&self) {
        self.medium.model().capacity = PAGES;
    }

    /// Delays every later sync by this time. Syncs run one after the other.
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

    /// Unmounts the disk. The kernel refuses that while a file is open, so this retries.
    fn unmount(&mut self) -> anyhow::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let deadline = Instant::now() + RELEASE_TIMEOUT;
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
                // Without root, umount2 fails with EPERM, and `fuser` unmounts by `fusermount3`.
                Err(_) => return session.umount_and_join().context("cannot unmount the disk"),
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.medium.off.store(true, Ordering::Relaxed);
        if let Some(session) = self.session.take() {
            // Files that are still open fail with EIO.
            let _detached = umount2(&self.folder, MntFlags::MNT_DETACH);
            drop(session);
        }
        let _not_empty = std::fs::remove_dir(&self.folder);
    }
}

/// Unmounts disks of killed processes, whose file systems no process serves any more.
fn remove_stale() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folders = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let ours = folders
        .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)));
    for folder in ours {
        let dead = std::fs::metadata(folder)
            .is_err_and(|error| error.raw_os_error() == Some(Errno::ENOTCONN as i32));
        if dead && umount2(folder, MntFlags::MNT_DETACH).is_ok() {
            let _not_empty = std::fs::remove_dir(folder);
        }
    }
}
