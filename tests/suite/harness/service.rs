//! A gateway or a worker as a process.

use std::{path::Path, process::ExitStatus, time::Duration};

use aftercall_local::{
    OPEN_GATEWAY,
    process::{Command, Process, Signal},
};

use super::{PATIENCE, servers::launcher};

/// A process of ours with its admin listener.
pub struct Service {
    process: Process,
    command: Command,
    admin: String,
}

impl Service {
    /// The command for `part` in the environment `vars` and nothing else of ours. A gateway is open to this
    /// machine, unless `vars` say otherwise.
    pub fn command(part: &str, log: &Path, vars: &[(String, String)]) -> Command {
        let log = log.join(format!("{part}.log"));
        launcher().service(part, log).clean_env().envs(OPEN_GATEWAY).envs(vars.iter().cloned())
    }

    /// The same behind words of the shell's, such as `ulimit -n 64 && exec`.
    pub fn behind(shell: &str, part: &str, log: &Path, vars: &[(String, String)]) -> Command {
        let command = Command::new(part, "/bin/sh", log.join(format!("{part}.log"))).clean_env();
        let script = format!(r#"{shell} "$0" "$@""#);
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_aftercall-tests"), part]);
        command.envs(OPEN_GATEWAY).envs(vars.iter().cloned())
    }

    /// Starts without waiting for readiness.
    pub async fn start(command: Command, admin_port: u16) -> Self {
        let process = launcher().spawn(&command).await.unwrap();
        Self { process, command, admin: format!("http://127.0.0.1:{admin_port}") }
    }

    /// Starts a process that is to end by itself; its exit status and log.
    pub async fn exit(part: &str, vars: &[(&str, &str)]) -> (Option<i32>, String) {
        let logs = tempfile::tempdir().unwrap();
        let vars = vars.iter().copied().chain([("ADMIN_ADDR", "127.0.0.1:0")]);
        let vars: Vec<_> = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut service = Self::start(Self::command(part, logs.path(), &vars), 0).await;
        (service.ended().await.code(), service.log())
    }

    /// Waits until `/readyz` says so.
    pub async fn until_ready(&mut self, http: &reqwest::Client) {
        let url = format!("{}/readyz", self.admin);
        let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        self.process.until(PATIENCE, ready).await.unwrap();
    }

    /// What `/readyz` says now.
    pub async fn readiness(&self, http: &reqwest::Client) -> (u16, serde_json::Value) {
        let answer = http.get(format!("{}/readyz", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until `/readyz` says no: the process has noticed what the test did.
    pub async fn until_unready(&mut self, http: &reqwest::Client) {
        let url = format!("{}/readyz", self.admin);
        let unready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 503);
        self.process.until(PATIENCE, unready).await.unwrap();
    }

    /// Waits until `/readyz` says this of a part.
    pub async fn until_part(&mut self, http: &reqwest::Client, part: &str, state: &str) {
        let url = format!("{}/readyz", self.admin);
        let found = async || {
            let Ok(answer) = http.get(&url).send().await else { return false };
            let ready: serde_json::Value = answer.json().await.unwrap_or_default();
            ready["parts"][part] == state
        };
        self.process.until(PATIENCE, found).await.unwrap();
    }

    /// Where its health and metrics are.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait(PATIENCE).await.unwrap();
    }

    /// Starts it again.
    pub async fn restart(&mut self) {
        self.process = launcher().spawn(&self.command).await.unwrap();
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        self.process.wait(PATIENCE).await.unwrap()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap()
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it has had, bytes.
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Processor time it has used.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        // Behind the name, which is in brackets and may hold anything: user and system time are the 12th and 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10) // A hundred ticks a second, wherever Linux runs on x86 and ARM.
    }

    /// The metrics page.
    pub async fn metrics(&self, http: &reqwest::Client) -> String {
        http.get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap()
    }
}
