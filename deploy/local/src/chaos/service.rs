//! A gateway or a worker as a process that is killed, stopped and started again.

use std::time::Duration;

use crate::process::{Command, Launcher, Process};

/// Longest a process takes to be ready, or to be gone.
pub(super) const READY: Duration = Duration::from_mins(1);

/// A gateway or a worker.
pub(super) struct Service {
    pub process: Process,
    pub command: Command,
    pub admin: u16,
}

impl Service {
    /// Ends it as a crash would, or in order.
    pub async fn end(&mut self, killed: bool) -> anyhow::Result<()> {
        if killed {
            self.process.kill()?;
            self.process.wait(READY).await?;
        } else {
            self.process.stop().await?;
        }
        Ok(())
    }

    /// Starts it again, without waiting until it is ready.
    pub async fn restart(&mut self, launcher: &Launcher) -> anyhow::Result<()> {
        self.process = launcher.spawn(&self.command).await?;
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&mut self, http: &reqwest::Client) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        self.process.until(READY, ready).await
    }

    /// Whether the gateway reaches the broker, and nothing waits in its spool.
    pub async fn is_ready_and_drained(&self, http: &reqwest::Client) -> bool {
        let page = async |path: &str| {
            http.get(format!("http://127.0.0.1:{}{path}", self.admin)).send().await.ok()?.text().await.ok()
        };
        let (ready, metrics) = (page("/readyz").await, page("/metrics").await);
        ready.is_some_and(|text| text.contains(r#""nats":"ok""#) && text.contains(r#""stream":"ok""#))
            && metrics.is_some_and(|text| text.contains("aftercall_spool_webhooks 0\n"))
    }
}
