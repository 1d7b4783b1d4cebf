//! A process of the gateway or of a worker.

use std::{path::Path, process::ExitStatus, time::Duration};

use aftercall_local::{
    OPEN_GATEWAY,
    process::{Command, Process, Signal},
};

use super::{servers::launcher, timeouts::test_timeout};

/// Lines of a log that a failed test prints.
const LINES_OF_FAILURE: usize = 40;

/// A process with its admin listener.
pub struct Service {
    process: Process,
    command: Command,
    admin: String,
}

impl Service {
    /// The command that starts `part` ("gateway" or "worker") with `vars` as its only settings. The gateway
    /// accepts unsigned webhooks and anonymous requests of this machine unless `vars` say otherwise.
    pub fn command(part: &str, log: &Path, vars: &[(String, String)]) -> Command {
        let log = log.join(format!("{part}.log"));
        launcher().service(part, log).clean_env().envs(OPEN_GATEWAY).envs(vars.iter().cloned())
    }

    /// The command that starts `part` from a shell, behind `prefix`, such as `ulimit -n 64 && exec`.
    pub fn shell_command(prefix: &str, part: &str, log: &Path, vars: &[(String, String)]) -> Command {
        let command = Command::new(part, "/bin/sh", log.join(format!("{part}.log"))).clean_env();
        let script = format!(r#"{prefix} "$0" "$@""#);
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_aftercall-tests"), part]);
        command.envs(OPEN_GATEWAY).envs(vars.iter().cloned())
    }

    /// Starts the process. Does not wait until it is ready.
    pub async fn start(command: Command, admin_port: u16) -> Self {
        let process = launcher().spawn(&command).await.unwrap();
        Self { process, command, admin: format!("http://127.0.0.1:{admin_port}") }
    }

    /// Starts a process and waits for its end. Returns exit code and log.
    pub async fn run_to_exit(part: &str, vars: &[(&str, &str)]) -> (Option<i32>, String) {
        let logs = tempfile::tempdir().unwrap();
        let vars = vars.iter().copied().chain([("ADMIN_ADDR", "127.0.0.1:0")]);
        let vars: Vec<_> = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut service = Self::start(Self::command(part, logs.path(), &vars), 0).await;
        (service.ended().await.code(), service.log())
    }

    /// Waits until `/readyz` answers 200.
    pub async fn until_ready(&mut self, http: &reqwest::Client) {
        let url = format!("{}/readyz", self.admin);
        let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        self.process.until(test_timeout(), ready).await.unwrap();
    }

    /// Status and body of `/readyz`.
    pub async fn readiness(&self, http: &reqwest::Client) -> (u16, serde_json::Value) {
        let answer = http.get(format!("{}/readyz", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until `/readyz` answers 503, that is, until the process has noticed a failure.
    pub async fn until_unready(&mut self, http: &reqwest::Client) {
        let url = format!("{}/readyz", self.admin);
        let unready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 503);
        self.process.until(test_timeout(), unready).await.unwrap();
    }

    /// Waits until `/readyz` reports this state of a part.
    pub async fn until_part(&mut self, http: &reqwest::Client, part: &str, state: &str) {
        let url = format!("{}/readyz", self.admin);
        let found = async || {
            let Ok(answer) = http.get(&url).send().await else { return false };
            let ready: serde_json::Value = answer.json().await.unwrap_or_default();
            ready["parts"][part] == state
        };
        self.process.until(test_timeout(), found).await.unwrap();
    }

    /// The URL of the admin listener.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Kills the process and waits for its end.
    pub async fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait(test_timeout()).await.unwrap();
    }

    /// Starts the process again.
    pub async fn restart(&mut self) {
        self.process = launcher().spawn(&self.command).await.unwrap();
    }

    /// Starts the process again with another value of a variable.
    pub async fn restart_with(&mut self, name: &str, value: &str) {
        self.command = self.command.clone().env(name, value);
        self.restart().await;
    }

    /// Sends a signal to the process.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.wait(test_timeout()).await.unwrap()
    }

    /// The log of the process since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Highest resident memory so far, in bytes.
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Processor time that the process has used.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        // The name is in brackets and may contain any character. User and system time are the 12th and 13th
        // field after it.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10) // Linux on x86 and ARM counts 100 ticks a second.
    }

    /// The text of the metrics page.
    pub async fn metrics(&self, http: &reqwest::Client) -> String {
        http.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap()
    }
}

/// A test that fails prints the end of the log.
impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (log, tail) = (self.process.log().display(), self.process.log_tail(LINES_OF_FAILURE));
            eprintln!("--- end of {log}\n{tail}");
        }
    }
}
