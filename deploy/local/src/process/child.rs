//! A running program.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::process::{Child, ChildStdin};

/// Time [`Process::stop`] waits before it kills. Longer than the services' `SHUTDOWN_GRACE` of 20 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest time that dropping a running [`Process`] takes.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time from SIGSTOP until every thread has stopped.
const STOPPED_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes at the end of a log that [`Process::log_tail`] reads.
const TAIL_BYTES: u64 = 16 * 1024;
const TAIL_LINE_CHARS: usize = 300;
/// Log lines that an error message shows.
pub(crate) const TAIL_LINES: usize = 12;
/// Pause between two calls of the condition in [`Process::until`].
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A program that runs under a guard. Dropping it ends the program.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    /// The process that started the program, and that ends with it (`guard.rs`).
    guard: Child,
    /// Standard input of the guard. The guard stops the program when this pipe closes.
    guard_stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    pub(super) fn new(name: String, pid: i32, guard: Child, guard_stdin: ChildStdin, log: PathBuf) -> Self {
        Self { name, pid, guard, guard_stdin: Some(guard_stdin), log }
    }

    /// Name of the program in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id of the program itself.
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// File that the output of the program is appended to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of the log that are not empty, each cut to 300 characters. Only the last 16 KiB of the log
    /// are read.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_else(|error| format!("{}: {error}", self.log.display()))
    }

    /// Whether the program is still running: its guard ends with it.
    pub fn is_running(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    /// Sends `signal` to the program. After SIGSTOP, blocks until every thread has stopped, which takes milliseconds.
    ///
    /// Fails if the program does not run any more.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_running() {
            bail!("{} is not running", self.name);
        }
        nix::sys::signal::kill(Pid::from_raw(self.pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))?;
        if signal == Signal::SIGSTOP {
            let begin = Instant::now();
            while !is_stopped(self.pid()) {
                ensure!(
                    begin.elapsed() < STOPPED_TIMEOUT,
                    "{} still runs {STOPPED_TIMEOUT:?} after SIGSTOP",
                    self.name
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Sends SIGKILL to the program, which has the effect of a crash. Returns before the program has ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Waits until the program has ended. If signal N killed the program, its exit status is 128 + N.
    ///
    /// Fails if the program still runs after `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(timeout, self.guard.wait()).await;
        Ok(ended.with_context(|| format!("{} still runs after {timeout:?}", self.name))??)
    }

    /// Waits until `ready` returns true.
    ///
    /// Fails with the end of the log if the program ends first, or if `timeout` passes.
    pub async fn until(
        &mut self,
        timeout: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            if !self.is_running() {
                bail!(
                    "{} ended before it was ready; its log ends with:\n{}",
                    self.name,
                    self.log_tail(TAIL_LINES)
                );
            }
            if ready().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is not ready after {timeout:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail(TAIL_LINES)
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends SIGTERM and waits until the program has ended. Sends SIGKILL if that takes longer than 25
    /// seconds.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::SIGTERM)?;
        }
        if let Ok(status) = self.wait(STOP_TIMEOUT).await {
            return Ok(status);
        }
        self.kill()?;
        self.wait(STOP_TIMEOUT).await
    }
}

impl Drop for Process {
    /// Ends the program, and waits up to 2 seconds so that its port and its files are free again.
    fn drop(&mut self) {
        drop(self.guard_stdin.take());
        let deadline = Instant::now() + DROP_TIMEOUT;
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // If the guard was killed by a signal, it could not stop the program.
        if matches!(self.guard.try_wait(), Ok(Some(status)) if status.signal().is_some()) {
            let _ended = nix::sys::signal::kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// Whether every thread has stopped. On a busy machine a thread may run on for a while after the signal.
///
/// True if the system has no `/proc`, or if the process has ended.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.is_none_or(|state| state.trim_start().starts_with(['T', 't']))
    })
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
