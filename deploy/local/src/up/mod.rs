//! `cargo local up`: starts all of Aftercall, prints the addresses, and stops everything on Ctrl-C.
//!
//! Addresses are checked before the first process starts. If a later step fails, every process is stopped: by
//! SIGTERM if possible, else by its guard.

mod addresses;
mod behaviour;
mod deployment;
mod logs;
mod options;
mod readiness;
mod start_servers;
mod start_services;
mod summary;

use std::{pin::pin, time::Duration};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

pub use self::{behaviour::Behaviour, options::Options};
use self::{deployment::Deployment, logs::LogFollower};
use crate::{config::Config, data_folder::DataFolder, process::TAIL_LINES, progress::Progress};

/// Interval between two checks of logs and processes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Runs everything until Ctrl-C or SIGTERM. Fails if a process ends earlier.
pub async fn run(data: &DataFolder, options: Options) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stop = aftercall_common::process::shutdown::on_signal().context("cannot watch for Ctrl-C")?;
    let _lock = data.acquire()?;
    addresses::check(&options)?;
    data.remove_running();

    let progress = Progress::visible();
    let started = stop.run_until_cancelled(Deployment::start(data, &options, &config, &progress)).await;
    progress.finish();
    let Some(started) = started else {
        eprintln!("stopped before all processes had started");
        return Ok(());
    };
    let mut deployment = started?;
    data.write_running(deployment.running())?;
    print!("{}", summary::text(data, deployment.running(), options.listen));
    let mut logs = LogFollower::follow(deployment.services());
    let ended = watch(&mut deployment, &mut logs, &stop).await;
    data.remove_running();
    eprintln!("stopping …");
    stop_all(&mut deployment, &mut logs).await;
    eprintln!("stopped");
    ended
}

/// Prints the logs until `stop`. Fails if a process ends earlier.
async fn watch(
    deployment: &mut Deployment,
    logs: &mut LogFollower,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await.is_some() {
        logs.print_new();
        if let Some(process) = deployment.ended() {
            logs.print_new();
            bail!("{} has ended; its log ends with:\n{}", process.name(), process.log_tail(TAIL_LINES));
        }
    }
    Ok(())
}

async fn stop_all(deployment: &mut Deployment, logs: &mut LogFollower) {
    let mut stopping = pin!(deployment.stop());
    while tokio::time::timeout(POLL_INTERVAL, stopping.as_mut()).await.is_err() {
        logs.print_new();
    }
    logs.print_new();
}
