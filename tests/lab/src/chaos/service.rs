//! A gateway or worker process. The faults of a run kill, stop and restart it.

use std::time::Duration;

use aftercall_local::process::{Command, Launcher, Process};

/// Longest time until a process is ready, or has ended.
pub(super) const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// A gateway or a worker.
pub(super) struct Service {
    pub process: Process,
    pub command: Command,
    /// Port for health and metrics.
    pub admin: u16,
}

/// Longest time for which a webhook may be in the spool of a gateway that has recovered, in seconds.
const MAX_SPOOLED: i64 = 2;

/// When the oldest webhook of each spool was received, in Unix seconds; 0 if a spool is empty.
fn oldest_spooled(metrics: &str) -> Vec<i64> {
    let lines = metrics.lines().filter(|line| line.starts_with("aftercall_spool_oldest_timestamp_seconds"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// Whether no spool has held a webhook for longer than [`MAX_SPOOLED`]. Without the metric it is unknown.
fn is_drained(metrics: &str) -> bool {
    let oldest = oldest_spooled(metrics);
    !oldest.is_empty() && oldest.into_iter().all(|at| at == 0 || at + MAX_SPOOLED >= now())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Service {
    /// Ends the process: by SIGKILL if `killed`, else by SIGTERM.
    pub async fn end(&mut self, killed: bool) -> anyhow::Result<()> {
        if killed {
            self.process.kill()?;
            self.process.wait(READY_TIMEOUT).await?;
        } else {
            self.process.stop().await?;
        }
        Ok(())
    }

    /// Starts the process again, without waiting until it is ready.
    pub async fn restart(&mut self, launcher: &Launcher) -> anyhow::Result<()> {
        self.process = launcher.spawn(&self.command).await?;
        Ok(())
    }

    /// Waits until `/readyz` answers with success.
    pub async fn until_ready(&mut self, http: &reqwest::Client) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        self.process.until(READY_TIMEOUT, ready).await
    }

    /// Whether the gateway reaches the broker, and its spool holds no old webhook. With `SPOOL=first` the spool is never
    /// empty under load.
    pub async fn is_ready_and_drained(&self, http: &reqwest::Client) -> bool {
        let page = async |path: &str| {
            http.get(format!("http://127.0.0.1:{}{path}", self.admin)).send().await.ok()?.text().await.ok()
        };
        let (ready, metrics) = (page("/readyz").await, page("/metrics").await);
        ready.is_some_and(|text| text.contains(r#""nats":"ok""#) && text.contains(r#""stream":"ok""#))
            && metrics.is_some_and(|text| is_drained(&text))
    }
}
