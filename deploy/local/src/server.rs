//! A server process that tests can kill, freeze and restart with the same port and data.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::future::LocalBoxFuture;
use tempfile::TempDir;

use crate::{
    ports,
    process::{Command, Launcher, Process, Signal},
};

/// Longest time that a server takes to start with all its data, or to end.
pub(crate) const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Attempts with different free ports: another process can take a port before the server binds it.
const PORT_ATTEMPTS: usize = 3;

/// The data folder of a server.
#[derive(Debug)]
pub(crate) struct ServerFolder {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl ServerFolder {
    /// The folder `wanted`, or a temporary one that is removed with the server.
    pub(crate) fn new(wanted: Option<&Path>, prefix: &str) -> anyhow::Result<Self> {
        if let Some(data) = wanted {
            std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
            return Ok(Self { path: data.to_owned(), temporary: None });
        }
        let folder =
            tempfile::Builder::new().prefix(prefix).tempdir().context("cannot make a temporary folder")?;
        Ok(Self { path: folder.path().to_owned(), temporary: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The parts of a server that depend on its kind.
pub(crate) struct ServerKind<'a> {
    /// Builds the command that serves on the given port.
    pub command: &'a dyn Fn(u16) -> anyhow::Result<Command>,
    /// Waits until the process accepts clients on its port.
    pub ready: ReadyCheck,
    /// Builds the URL for clients from the port.
    pub url: &'a dyn Fn(u16) -> String,
}

/// Waits until a process accepts clients on a port.
#[derive(Clone)]
pub(crate) struct ReadyCheck(Arc<Check>);

type Check = dyn for<'a> Fn(&'a mut Process, u16) -> Checking<'a> + Send + Sync;
type Checking<'a> = LocalBoxFuture<'a, anyhow::Result<()>>;

impl ReadyCheck {
    pub(crate) fn new(
        ready: impl for<'a> Fn(&'a mut Process, u16) -> Checking<'a> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ready))
    }
}

impl fmt::Debug for ReadyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCheck").finish_non_exhaustive()
    }
}

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub struct Server {
    process: Process, // Dropped before the folder that it writes to, because it is declared first.
    _folder: ServerFolder,
    launcher: Launcher,
    command: Command,
    ready: ReadyCheck,
    port: u16,
    url: String,
}

impl Server {
    /// Starts a server of this kind on `port`, or on a free port if `port` is 0.
    pub(crate) async fn start(
        launcher: &Launcher,
        folder: ServerFolder,
        port: u16,
        kind: ServerKind<'_>,
    ) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let used = if port == 0 { ports::free()? } else { port };
            let mut command = (kind.command)(used)?;
            if let Some(temporary) = &folder.temporary {
                command = command.remove(temporary.path());
            }
            match launch(launcher, &command, &kind.ready, used).await {
                Ok(process) => {
                    let (launcher, url) = (launcher.clone(), (kind.url)(used));
                    let ready = kind.ready;
                    return Ok(Self { process, _folder: folder, launcher, command, ready, port: used, url });
                }
                Err(error) if port != 0 || attempt == PORT_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// URL that clients connect to.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The process of the server, for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the server (SIGKILL), which has the effect of a crash, and waits until it has ended.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait(START_TIMEOUT).await?;
        Ok(())
    }

    /// Stops the server by SIGTERM, and waits until it has ended.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop().await?;
        Ok(())
    }

    /// Starts the server again with the same port and data. Kills it first if it still runs.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_running() {
            self.kill().await?;
        }
        self.process = launch(&self.launcher, &self.command, &self.ready, self.port).await?;
        Ok(())
    }

    /// Suspends the server (SIGSTOP), which has the effect of a hanging machine.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Resumes the server after [`Self::freeze`].
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGCONT)
    }
}

async fn launch(
    launcher: &Launcher,
    command: &Command,
    ready: &ReadyCheck,
    port: u16,
) -> anyhow::Result<Process> {
    let mut process = launcher.spawn(command).await?;
    (ready.0)(&mut process, port).await?;
    Ok(process)
}
