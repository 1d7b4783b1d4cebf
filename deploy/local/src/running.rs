//! The data folder: what is where in it, who may use it, and what runs from it.
//!
//! `up` and `reset` own the folder while they work ([`Data::acquire`]). What `up` runs is described
//! in `running.json`, which is how `send` finds it.

use std::{
    fs::{File, TryLockError},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// Processes of an `up` that was killed need a moment to end.
const PREVIOUS_DEADLINE: Duration = Duration::from_secs(30);

/// Hexadecimal digits of a secret that is made here.
const SECRET_DIGITS: usize = 32;

/// The folder everything is kept in.
#[derive(Clone, Debug)]
pub struct Data {
    root: PathBuf,
}

/// The folder belongs to this process for as long as this lives.
#[derive(Debug)]
pub struct Owned {
    _lock: File,
}

/// What a running `up` has started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Process id of `up` itself.
    pub pid: u32,
    /// Where webhooks go.
    pub public_url: String,
    /// Health and metrics of the gateway.
    pub gateway_admin_url: String,
    /// Health and metrics of each worker.
    pub worker_admin_urls: Vec<String>,
    /// The page to look at.
    pub console_url: String,
    /// Its token.
    #[serde(default)]
    pub console_token: String,
    /// The broker.
    pub nats_url: String,
    /// Its monitoring endpoint, where we started it.
    #[serde(default)]
    pub nats_monitor_url: Option<String>,
    /// The database server.
    pub mongodb_uri: String,
    /// The database.
    pub mongodb_database: String,
    /// The simulated API, unless the real one is used.
    pub simulator_url: Option<String>,
    /// The token that places calls, where `up` generated one.
    #[serde(default)]
    pub api_token: Option<String>,
}

impl Running {
    /// The link by which a browser logs in to the console.
    pub fn console_link(&self) -> String {
        let token = form_urlencoded::byte_serialize(self.console_token.as_bytes()).collect::<String>();
        format!("{}/?token={token}", self.console_url)
    }
}

impl Data {
    /// The folder `given`, else `.aftercall` at the root of the workspace this was built in.
    pub fn new(given: Option<PathBuf>) -> Self {
        let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let root = given.unwrap_or_else(|| match workspace.canonicalize() {
            Ok(workspace) => workspace.join(".aftercall"),
            Err(_) => PathBuf::from(".aftercall"), // The binary was carried elsewhere.
        });
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The log of one part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.path("logs").join(format!("{part}.log"))
    }

    /// The file on which the guards of all children hold a shared lock.
    pub fn children(&self) -> PathBuf {
        self.path("children.lock")
    }

    /// Takes the folder for this process, or says who has it.
    pub fn acquire(&self) -> anyhow::Result<Owned> {
        std::fs::create_dir_all(&self.root).with_context(|| self.unwritable())?;
        let open = |path| File::options().read(true).append(true).create(true).open(path);
        let mut lock = open(self.path("lock")).with_context(|| self.unwritable())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{}", self.occupied(&mut lock)),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| self.unwritable()),
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .with_context(|| self.unwritable())?;

        // The children of an `up` that was killed may still be ending.
        let children = open(self.children()).with_context(|| self.unwritable())?;
        let deadline = Instant::now() + PREVIOUS_DEADLINE;
        while children.try_lock().is_err() {
            if Instant::now() > deadline {
                bail!("processes of an earlier run in {} do not end", self.root.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Owned { _lock: lock })
    }

    fn unwritable(&self) -> String {
        format!("cannot write to {} (choose another folder with --data)", self.root.display())
    }

    fn occupied(&self, lock: &mut File) -> String {
        let mut pid = String::new();
        // Only for the message: whoever holds the lock may not have written it yet.
        let _read = lock.read_to_string(&mut pid);
        let url = self.running().map(|running| format!(", {}", running.public_url)).unwrap_or_default();
        format!("already running in {} (pid {}{url})", self.root.display(), pid.trim())
    }

    /// The secret that is kept in the file `name` for the user alone; made where there is none.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if kept.trim().len() >= SECRET_DIGITS {
            return Ok(kept.trim().to_owned());
        }
        let secret = format!("{:032x}", rand::random::<u128>());
        let mut options = File::options();
        // A file that is there already, and empty, may be readable for others.
        let _gone = std::fs::remove_file(&path);
        let write = options.write(true).create_new(true).mode(0o600).open(&path);
        write.and_then(|mut file| file.write_all(secret.as_bytes())).with_context(|| self.unwritable())?;
        Ok(secret)
    }

    /// What runs from this folder.
    pub fn running(&self) -> anyhow::Result<Running> {
        let text = std::fs::read_to_string(self.path("running.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Says what runs. Readable for the user only: URLs may hold passwords.
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
        write().with_context(|| self.unwritable())
    }

    /// Says that nothing runs any more.
    pub fn remove_running(&self) {
        // `up` may have ended before it wrote the file.
        let _gone = std::fs::remove_file(self.path("running.json"));
    }
}
