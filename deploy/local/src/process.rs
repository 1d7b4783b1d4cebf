//! Child processes that cannot be left behind.
//!
//! Every program runs under a `guard` (see `guard.rs`) in a process group of its own, so Ctrl-C in a
//! terminal reaches only us, and the guard stops the program when we end, however we end.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    net::TcpListener,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdin},
};

pub use nix::sys::signal::Signal;

/// Time a guard gets to say that its program runs.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Time [`Process::stop`] waits before it kills: above the services' `SHUTDOWN_GRACE` of 20 s.
const STOP_DEADLINE: Duration = Duration::from_secs(25);
/// Longest a [`Process`] that is dropped while running holds up its owner.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
/// Longest SIGSTOP takes to stop every thread.
const FREEZE_DEADLINE: Duration = Duration::from_secs(5);
/// As much of a log's end as is read for [`Process::log_tail`].
const TAIL_BYTES: u64 = 16 * 1024;
const TAIL_LINE_CHARS: usize = 300;
/// As many lines as an error message shows.
pub(crate) const TAIL_LINES: usize = 12;
/// File descriptor of the first socket that is handed over.
const FIRST_SOCKET: i32 = 3;
/// Pause between two looks at something that will be ready in a moment.
const POLL: Duration = Duration::from_millis(20);

/// Starts processes: through the guard of one executable, all in the same manner.
#[derive(Clone, Debug)]
pub struct Launcher {
    exe: PathBuf,
    grace: Duration,
    hold: Option<PathBuf>,
}

impl Launcher {
    /// A launcher that uses `exe`, a copy of the `cargo local` binary
    /// (`env!("CARGO_BIN_EXE_aftercall-tests")` in tests). What is dropped is killed at once.
    pub fn new(exe: impl Into<PathBuf>) -> Self {
        Self { exe: exe.into(), grace: Duration::ZERO, hold: None }
    }

    /// A launcher that uses the executable of this process.
    pub fn current() -> anyhow::Result<Self> {
        Ok(Self::new(std::env::current_exe().context("cannot find the own executable")?))
    }

    /// Gives a program `grace` between SIGTERM and SIGKILL when its owner is gone.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Lets every guard hold a shared lock on `file` for as long as it lives.
    #[must_use]
    pub fn hold(mut self, file: impl Into<PathBuf>) -> Self {
        self.hold = Some(file.into());
        self
    }

    /// The command that runs `part` (`gateway`, `worker`, `simulator`) of our own executable.
    pub fn service(&self, part: &str, log: impl Into<PathBuf>) -> Command {
        Command::new(part, &self.exe, log).arg(part)
    }

    /// Starts `command`.
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
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);

        if let Some(socket) = &command.socket {
            // The guard has it too, and so its program.
            let mapping = FdMapping { parent_fd: socket.try_clone()?.into(), child_fd: FIRST_SOCKET };
            guard.fd_mappings(vec![mapping])?;
        }

        let mut guard = guard.spawn().with_context(|| format!("cannot start {}", self.exe.display()))?;
        let alive = guard.stdin.take().context("the guard has no standard input")?;
        let mut said = String::new();
        let mut stdout = BufReader::new(guard.stdout.take().context("the guard has no standard output")?);
        tokio::time::timeout(START_DEADLINE, stdout.read_line(&mut said))
            .await
            .with_context(|| format!("{name}: its guard does not answer"))?
            .with_context(|| format!("{name}: its guard cannot be heard"))?;
        let Some(pid) = said.trim().strip_prefix("pid ").and_then(|pid| pid.parse().ok()) else {
            bail!("{name}: {}", if said.trim().is_empty() { "its guard ended early" } else { said.trim() });
        };
        Ok(Process { name: name.clone(), pid, guard, alive: Some(alive), log: command.log.clone() })
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Command {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clean_env: bool,
    log: PathBuf,
    remove: Option<PathBuf>,
    socket: Option<Arc<TcpListener>>,
}

impl Command {
    /// `program`, called `name` in messages, with its output appended to the file `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clean_env: false,
            log: log.into(),
            remove: None,
            socket: None,
        }
    }

    /// Changes the name it has in messages.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, vars: impl IntoIterator<Item = (N, V)>) -> Self {
        vars.into_iter().fold(self, |command, (name, value)| command.env(name, value))
    }

    /// Passes on no variable of our own environment.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.clean_env = true;
        self
    }

    /// Hands a listening socket over as systemd does (`LISTEN_FDS`); any number of programs may have it.
    #[must_use]
    pub fn socket(mut self, socket: Arc<TcpListener>) -> Self {
        self.socket = Some(socket);
        self.env("LISTEN_FDS", "1")
    }

    /// Lets the guard remove `directory` when it has to stop the program because we are gone.
    #[must_use]
    pub fn remove(mut self, directory: impl Into<PathBuf>) -> Self {
        self.remove = Some(directory.into());
        self
    }
}

/// A running program. Dropping it ends the program.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    guard: Child,
    /// The guard stops the program when this closes.
    alive: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// What the program is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The file its output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    /// Sends `signal` to the program itself. After SIGSTOP it has stopped.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_running() {
            bail!("{} does not run", self.name);
        }
        nix::sys::signal::kill(Pid::from_raw(self.pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        if signal == Signal::SIGSTOP {
            let begin = Instant::now();
            while !is_stopped(self.pid()) {
                ensure!(begin.elapsed() < FREEZE_DEADLINE, "{} goes on though it was stopped", self.name);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// SIGKILL to the program itself, as a crash would be. Returns before it has ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Waits for the program to end by itself. Killed by signal N reads as exit status 128 + N.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(deadline, self.guard.wait()).await;
        Ok(ended.with_context(|| format!("{} still runs after {deadline:?}", self.name))??)
    }

    /// Waits until `ready` says so. A program that ends instead is an error with its last log lines.
    pub async fn until(
        &mut self,
        deadline: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + deadline;
        loop {
            if !self.is_running() {
                bail!("{} ended at its start; its log ends with:\n{}", self.name, self.log_tail(TAIL_LINES));
            }
            if ready().await {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!(
                    "{} is not ready after {deadline:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail(TAIL_LINES)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks the program to end (SIGTERM) and waits until it has; kills it when it takes too long.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::SIGTERM)?;
        }
        if let Ok(status) = self.wait(STOP_DEADLINE).await {
            return Ok(status);
        }
        self.kill()?;
        self.wait(STOP_DEADLINE).await
    }
}

impl Drop for Process {
    /// Ends the program and waits a moment for it, so that its port and its files are free again.
    fn drop(&mut self) {
        drop(self.alive.take());
        let deadline = Instant::now() + DROP_DEADLINE;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // A guard that was killed itself could do nothing for its program.
        if matches!(self.guard.try_wait(), Ok(Some(status)) if status.signal().is_some()) {
            let _ended = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// Whether every thread has stopped: on a busy machine some go on for a while after the signal. Taken for granted
/// where the system does not tell.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.is_none_or(|state| state.trim_start().starts_with(['T', 't']))
    })
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let open = || -> std::io::Result<File> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        File::options().append(true).create(true).open(path)
    };
    open().with_context(|| format!("cannot write {}", path.display()))
}

fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &all[all.len().saturating_sub(lines)..];
    let short = last.iter().map(|line| line.chars().take(TAIL_LINE_CHARS).collect::<String>());
    Ok(short.collect::<Vec<_>>().join("\n"))
}

/// The folder a server keeps its data in: `wanted`, or a temporary one and its owner.
pub(crate) fn data_dir(wanted: Option<&Path>, prefix: &str) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    if let Some(data) = wanted {
        std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
        return Ok((data.to_owned(), None));
    }
    let folder =
        tempfile::Builder::new().prefix(prefix).tempdir().context("cannot make a temporary folder")?;
    Ok((folder.path().to_owned(), Some(folder)))
}
