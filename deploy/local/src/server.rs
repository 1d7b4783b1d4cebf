//! A server that runs for us, and can be killed, frozen and started again on its port and data.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tempfile::TempDir;

use crate::{
    ports,
    process::{Command, Launcher, Process, Signal},
};

/// Longest a server takes to start with all its data, or to end.
pub(crate) const START_DEADLINE: Duration = Duration::from_mins(1);
/// A port that was free can be taken when the server comes to use it.
const PORT_ATTEMPTS: usize = 3;

/// Where a server keeps its data.
#[derive(Debug)]
pub(crate) struct Home {
    folder: PathBuf,
    temporary: Option<TempDir>,
}

impl Home {
    /// `wanted`, or a temporary folder that ends with the server.
    pub(crate) fn new(wanted: Option<&Path>, prefix: &str) -> anyhow::Result<Self> {
        let (folder, temporary) = crate::process::data_dir(wanted, prefix)?;
        Ok(Self { folder, temporary })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

/// What tells one kind of server from another.
pub(crate) struct Kind<'a> {
    /// The command that serves on a port.
    pub command: &'a dyn Fn(u16) -> anyhow::Result<Command>,
    /// Waits until the process serves its port.
    pub ready: Ready,
    /// Where clients connect to, by port.
    pub url: &'a dyn Fn(u16) -> String,
}

/// Waits until a process serves a port.
#[derive(Clone)]
pub(crate) struct Ready(Arc<Wait>);

type Wait = dyn for<'a> Fn(&'a mut Process, u16) -> Waiting<'a> + Send + Sync;
type Waiting<'a> = LocalBoxFuture<'a, anyhow::Result<()>>;

impl Ready {
    pub(crate) fn new(
        ready: impl for<'a> Fn(&'a mut Process, u16) -> Waiting<'a> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(ready))
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    process: Process, // Declared before the folder it writes to, hence dropped before it.
    _home: Home,
    launcher: Launcher,
    command: Command,
    ready: Ready,
    port: u16,
    url: String,
}

impl Server {
    /// Starts a server of this kind on `port`, or on a free one where that is 0.
    pub(crate) async fn start(
        launcher: &Launcher,
        home: Home,
        port: u16,
        kind: Kind<'_>,
    ) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            let used = if port == 0 { ports::free()? } else { port };
            let mut command = (kind.command)(used)?;
            if let Some(folder) = &home.temporary {
                command = command.remove(folder.path());
            }
            match launch(launcher, &command, &kind.ready, used).await {
                Ok(process) => {
                    let (launcher, url) = (launcher.clone(), (kind.url)(used));
                    let ready = kind.ready;
                    return Ok(Self { process, _home: home, launcher, command, ready, port: used, url });
                }
                Err(error) if port != 0 || attempt == PORT_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The process, to send signals to.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the server as a crash would (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait(START_DEADLINE).await?;
        Ok(())
    }

    /// Ends the server in order and waits until it is gone.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop().await?;
        Ok(())
    }

    /// Starts the server again, on the same port and data. One that still runs is killed first.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_running() {
            self.kill().await?;
        }
        self.process = launch(&self.launcher, &self.command, &self.ready, self.port).await?;
        Ok(())
    }

    /// Stops the server without its noticing, as a hanging machine would (SIGSTOP).
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Ends what [`Self::freeze`] began.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGCONT)
    }
}

async fn launch(launcher: &Launcher, command: &Command, ready: &Ready, port: u16) -> anyhow::Result<Process> {
    let mut process = launcher.spawn(command).await?;
    (ready.0)(&mut process, port).await?;
    Ok(process)
}
