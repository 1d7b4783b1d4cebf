//! Starts programs under a guard.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{child::Process, command::Command};

/// Time a guard gets to report that its program runs.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// File descriptor of the first inherited socket, by systemd's protocol.
const FIRST_SOCKET: i32 = 3;

/// Starts programs, each under a guard. The guard is a subcommand of one executable.
#[derive(Clone, Debug)]
pub struct Launcher {
    exe: PathBuf,
    grace: Duration,
    hold: Option<PathBuf>,
}

impl Launcher {
    /// A launcher whose guards and services are subcommands of `exe`, which must call [`crate::run_part`]. If a
    /// [`Process`] is dropped, its program gets SIGKILL at once, or SIGTERM before if [`Self::grace`] is set.
    pub fn new(exe: impl Into<PathBuf>) -> Self {
        Self { exe: exe.into(), grace: Duration::ZERO, hold: None }
    }

    /// A launcher that uses the executable of this process. Fails if its path is unknown.
    pub fn current() -> anyhow::Result<Self> {
        Ok(Self::new(std::env::current_exe().context("cannot find the own executable")?))
    }

    /// Sets the time between SIGTERM and SIGKILL for a program whose [`Process`] is dropped or whose launcher has ended.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Makes every guard hold a shared lock on `file` until the guard ends, so that others can wait for the end of all
    /// programs.
    #[must_use]
    pub fn hold(mut self, file: impl Into<PathBuf>) -> Self {
        self.hold = Some(file.into());
        self
    }

    /// The command that runs `part` of the executable, such as `gateway`, `worker` or `simulator`.
    pub fn service(&self, part: &str, log: impl Into<PathBuf>) -> Command {
        Command::new(part, &self.exe, log).arg(part)
    }

    /// Starts `command`. Fails if the program cannot be started, or if the guard does not report within 20
    /// seconds.
    pub async fn spawn(&self, command: &Command) -> anyhow::Result<Process> {
        let name = &command.name;
        let mut guard = tokio::process::Command::new(&self.exe);
        guard.arg("guard").arg("--grace-ms").arg(self.grace.as_millis().to_string());
        if let Some(file) = &self.hold {
            guard.arg("--hold").arg(file);
        }
        if let Some(directory) = &command.remove {
            guard.arg("--remove").arg(directory);
        }
        guard.arg("--").arg(&command.program).args(&command.args);
        if command.clean_env {
            guard.env_clear();
        }
        let log = open_log(&command.log)?;
        guard.envs(command.env.iter().map(|(name, value)| (name, value)));
        // In a group of its own, it does not get the Ctrl-C of a terminal.
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);

        if let Some(socket) = &command.socket {
            // The guard inherits the socket and passes it on to its program.
            let mapping = FdMapping { parent_fd: socket.try_clone()?.into(), child_fd: FIRST_SOCKET };
            guard.fd_mappings(vec![mapping])?;
        }

        let mut guard = guard.spawn().with_context(|| format!("cannot start {}", self.exe.display()))?;
        // The guard stops its program when this pipe is closed.
        let guard_stdin = guard.stdin.take().context("the guard has no standard input")?;
        let mut report = String::new();
        let mut stdout = BufReader::new(guard.stdout.take().context("the guard has no standard output")?);
        tokio::time::timeout(START_TIMEOUT, stdout.read_line(&mut report))
            .await
            .with_context(|| {
                format!(
                    "{name}: its guard did not report within {START_TIMEOUT:?}; see {}",
                    command.log.display()
                )
            })?
            .with_context(|| format!("{name}: cannot read the report of its guard"))?;
        let Some(pid) = report.trim().strip_prefix("pid ").and_then(|pid| pid.parse().ok()) else {
            bail!(
                "{name}: {}",
                if report.trim().is_empty() { "its guard ended early" } else { report.trim() }
            );
        };
        Ok(Process::new(name.clone(), pid, guard, guard_stdin, command.log.clone()))
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let open = || -> std::io::Result<File> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        File::options().append(true).create(true).open(path)
    };
    open().with_context(|| format!("cannot write {}", path.display()))
}
