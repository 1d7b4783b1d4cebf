//! The data folder of `cargo local`: servers' data, logs, secrets and `running.json`.
//!
//! `up` and `reset` lock the folder while they work ([`DataFolder::acquire`]). `up` describes its processes
//! in `running.json`; `send` reads that file to find them.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{caller::Caller, running::Running};

/// Time that the processes of a killed `up` get to end.
const CHILDREN_TIMEOUT: Duration = Duration::from_secs(30);

/// Hexadecimal digits of a generated secret.
const SECRET_DIGITS: usize = 32;

/// The data folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    root: PathBuf,
    caller: Caller,
}

/// Exclusive use of the data folder, until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _lock: File,
}

impl DataFolder {
    /// The folder `given`, else the usual one of `caller`.
    pub fn new(given: Option<PathBuf>, caller: Caller) -> Self {
        let root = given.unwrap_or_else(|| caller.data_folder());
        Self { root: std::path::absolute(&root).unwrap_or(root), caller }
    }

    /// The words that the user types before `up`, `send` or `reset`.
    pub fn command(&self) -> &'static str {
        self.caller.command()
    }

    /// Absolute path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of a file or folder inside the data folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Log file of the process called `part`.
    pub fn log(&self, part: &str) -> PathBuf {
        self.path("logs").join(format!("{part}.log"))
    }

    /// The file that every guard locks (shared) while its program runs.
    pub fn children_lock(&self) -> PathBuf {
        self.path("children.lock")
    }

    /// Locks the folder for this process.
    ///
    /// Fails if another `up` or `reset` uses it, or if processes of an earlier run do not end within 30
    /// seconds.
    pub fn acquire(&self) -> anyhow::Result<FolderLock> {
        std::fs::create_dir_all(&self.root).with_context(|| self.not_writable())?;
        let open = |path| File::options().read(true).append(true).create(true).open(path);
        let mut lock = open(self.path("lock")).with_context(|| self.not_writable())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{}", self.in_use(&mut lock)),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| self.not_writable()),
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .with_context(|| self.not_writable())?;

        // A killed `up` leaves processes that need a moment to end.
        let children = open(self.children_lock()).with_context(|| self.not_writable())?;
        let deadline = Instant::now() + CHILDREN_TIMEOUT;
        while children.try_lock().is_err() {
            if Instant::now() > deadline {
                bail!(
                    "processes of an earlier run in {} have not ended after {CHILDREN_TIMEOUT:?}",
                    self.root.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(FolderLock { _lock: lock })
    }

    fn not_writable(&self) -> String {
        format!("cannot write to {} (choose another folder with --data)", self.root.display())
    }

    fn in_use(&self, lock: &mut File) -> String {
        let mut pid = String::new();
        // The id is only for the message. The other process may not have written it yet.
        let _read = lock.read_to_string(&mut pid);
        let url = self.running().map(|running| format!(", {}", running.public_url)).unwrap_or_default();
        format!("already running in {} (pid {}{url})", self.root.display(), pid.trim())
    }

    /// The secret in the file `name`, generated on first use. Only the user can read the file.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if kept.trim().len() >= SECRET_DIGITS {
            return Ok(kept.trim().to_owned());
        }
        let secret = format!("{:032x}", rand::random::<u128>());
        let mut options = File::options();
        // An existing file may be readable for other users.
        let _absent = std::fs::remove_file(&path);
        let write = options.write(true).create_new(true).mode(0o600).open(&path);
        write.and_then(|mut file| file.write_all(secret.as_bytes())).with_context(|| self.not_writable())?;
        Ok(secret)
    }

    /// Reads `running.json`. Fails if nothing runs from this folder.
    pub fn running(&self) -> anyhow::Result<Running> {
        let text = std::fs::read_to_string(self.path("running.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes `running.json`. Only the user can read it, because URLs may hold passwords.
    pub fn write_running(&self, running: &Running) -> anyhow::Result<()> {
        let write = || -> std::io::Result<()> {
            let mut options = File::options();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(self.path("running.json"))?;
            serde_json::to_writer_pretty(&mut file, running)?;
            Ok(())
        };
        write().with_context(|| self.not_writable())
    }

    /// Removes `running.json`.
    pub fn remove_running(&self) {
        // `up` may have ended before it wrote the file.
        let _absent = std::fs::remove_file(self.path("running.json"));
    }
}
