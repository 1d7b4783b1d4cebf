//! A gateway or worker process that faults kill, stop and restart.

use std::time::Duration;

use aftercall_local::process::{Command, Launcher, Process};

/// Longest time that a process takes to be ready, or to end.
pub(super) const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// A gateway or a worker.
pub(super) struct Service {
    pub process: Process,
    pub command: Command,
    /// Port for health and metrics.
    pub admin: u16,
}

/// Seconds for which a webhook may be in the spool of a gateway that has recovered.
const MAX_SPOOLED: i64 = 2;

/// When the oldest webhooks in the spool were received, in Unix seconds; 0 if there is none.
fn oldest_spooled(metrics: &str) -> impl Iterator<Item = i64> {
    let lines = metrics.lines().filter(|line| line.starts_with("aftercall_spool_oldest_timestamp_seconds{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
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

    /// Whether the gateway reaches the broker, and its spool has published what it held. With `SPOOL=first` it always
    /// holds the webhooks of the last moment.
    pub async fn is_ready_and_drained(&self, http: &reqwest::Client) -> bool {
        let page = async |path: &str| {
            http.get(format!("http://127.0.0.1:{}{path}", self.admin)).send().await.ok()?.text().await.ok()
        };
        let (ready, metrics) = (page("/readyz").await, page("/metrics").await);
        ready.is_some_and(|text| text.contains(r#""nats":"ok""#) && text.contains(r#""stream":"ok""#))
            && metrics
                .is_some_and(|text| oldest_spooled(&text).all(|at| at == 0 || at + MAX_SPOOLED >= now()))
    }
}
