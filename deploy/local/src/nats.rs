//! A private nats-server with JetStream that syncs before it acknowledges.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    ports,
    process::{Command, Launcher, Process, Signal},
};

const START_DEADLINE: Duration = Duration::from_secs(30);
/// A port that was free can be taken when the server comes to use it.
const PORT_ATTEMPTS: usize = 3;

/// How the server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of configuration and streams. None: a temporary one, removed at the end.
    pub data: Option<PathBuf>,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Whether an acknowledged message is on disk, not only in the page cache.
    pub sync_always: bool,
    /// Settings added to the `jetstream` block, such as `max_file_store: 10MB`.
    pub jetstream: String,
    /// Settings added at the top level, such as `max_payload: 64KB` or `accounts { … }`.
    pub extra: String,
    /// Log file. None: in the data folder.
    pub log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            port: 0,
            sync_always: true,
            jetstream: String::new(),
            extra: String::new(),
            log: None,
        }
    }
}

/// A running nats-server. Dropping it ends it.
#[derive(Debug)]
pub struct Nats {
    process: Process, // Declared before the folder it writes to, hence dropped before it.
    _temporary: Option<TempDir>,
    launcher: Launcher,
    command: Command,
    port: u16,
}

impl Nats {
    /// Starts `binary` and waits until it takes connections, streams recovered.
    pub async fn start(launcher: &Launcher, binary: &Path, options: Options) -> anyhow::Result<Self> {
        let (data, temporary) = crate::process::data_dir(options.data.as_deref(), "aftercall-nats-")?;
        let log = options.log.clone().unwrap_or_else(|| data.join("nats-server.log"));
        let mut attempt = 1;
        loop {
            let port = if options.port == 0 { ports::free()? } else { options.port };
            let file = data.join("nats-server.conf");
            std::fs::write(&file, config(&options, &data, port))
                .with_context(|| format!("cannot write {}", file.display()))?;
            let mut command = Command::new("nats-server", binary, &log).arg("--config").arg(&file);
            if let Some(folder) = &temporary {
                command = command.remove(folder.path());
            }
            match launch(launcher, &command, port).await {
                Ok(process) => {
                    let launcher = launcher.clone();
                    return Ok(Self { process, _temporary: temporary, launcher, command, port });
                }
                Err(error) if options.port != 0 || attempt == PORT_ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
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
        self.process = launch(&self.launcher, &self.command, self.port).await?;
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

fn config(options: &Options, data: &Path, port: u16) -> String {
    // A JSON string is a valid string of the configuration language.
    let store = serde_json::Value::from(data.join("jetstream").display().to_string());
    let sync = if options.sync_always { "sync_interval: always" } else { "" };
    format!(
        "server_name: aftercall\nlisten: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: {store}\n  {sync}\n  {}\n}}\n{}\n",
        options.jetstream, options.extra
    )
}

async fn launch(launcher: &Launcher, command: &Command, port: u16) -> anyhow::Result<Process> {
    let mut process = launcher.spawn(command).await?;
    process.until(START_DEADLINE, async || greets(port).await.unwrap_or(false)).await?;
    Ok(process)
}

/// Whether the server sends its greeting. It does not before JetStream has recovered its streams.
async fn greets(port: u16) -> std::io::Result<bool> {
    let greeting = async {
        let mut line = String::new();
        BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.starts_with("INFO ") && line.contains("\"jetstream\":true"))
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await?
}
