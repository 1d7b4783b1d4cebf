//! What `up` does while everything runs: places the demo calls, prints logs, and counts what happens.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use super::{
    activity::{self, Activity},
    demo::Demo,
    deployment::Deployment,
    logs::LogFollower,
};
use crate::{process::TAIL_LINES, progress::Progress};

/// Interval between two checks of logs and processes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// What is shown while everything runs.
#[derive(Debug)]
pub struct Watch {
    pub activity: Activity,
    pub logs: LogFollower,
    /// Shows the counts.
    pub progress: Progress,
}

impl Watch {
    /// Places the calls of `demo`, and shows what happens until `stop`. Fails if a process ends earlier.
    pub async fn run(
        &mut self,
        deployment: &mut Deployment,
        demo: Option<Demo>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut demo = pin!(async {
            match demo {
                Some(demo) => demo.place().await,
                None => Ok(()),
            }
        });
        let (mut is_placed, mut counted) = (false, Instant::now());
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                placed = &mut demo, if !is_placed => {
                    is_placed = true;
                    if let Err(error) = placed {
                        self.progress.print_lines(|| eprintln!("warning: {error:#}"));
                    }
                }
            }
            self.logs.print_new(&self.progress);
            if let Some(process) = deployment.ended() {
                let tail = process.log_tail(TAIL_LINES);
                bail!("{} has ended; its log ends with:\n{tail}", process.name());
            }
            if self.progress.shows_steps() && counted.elapsed() >= COUNT_INTERVAL {
                let counts = self.activity.counts().await;
                self.progress.step(&activity::line(counts, self.logs.problems()));
                counted = Instant::now();
            }
        }
        Ok(())
    }

    /// Stops everything.
    pub async fn stop(mut self, deployment: &mut Deployment) {
        self.progress.finish();
        eprintln!("stopping …");
        let mut stopping = pin!(deployment.stop());
        while tokio::time::timeout(POLL_INTERVAL, stopping.as_mut()).await.is_err() {
            self.logs.print_new(&self.progress);
        }
        self.logs.print_new(&self.progress);
        eprintln!("stopped");
    }
}
