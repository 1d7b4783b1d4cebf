//! `cargo local up`: starts all of Aftercall, prints what to open, places demo calls, and stops everything on
//! Ctrl-C.
//!
//! Addresses are chosen before the first process starts. If a later step fails, every process is stopped: by SIGTERM, or
//! by the parent process that each of them has (see [`crate::guard`]).

mod activity;
mod addresses;
mod behaviour;
mod demo;
mod deployment;
mod logs;
mod options;
mod readiness;
mod start_servers;
mod start_services;
mod summary;
mod watch;

use anyhow::Context as _;

use self::{
    activity::Activity,
    addresses::Addresses,
    demo::Demo,
    deployment::{Deployment, StartContext},
    logs::{LogFollower, Shown},
    watch::Watch,
};
pub use self::{behaviour::Behaviour, demo::FILE as DEMO_FILE, options::Options};
use crate::{config::Config, data_folder::DataFolder, progress::Progress};

/// Runs everything until Ctrl-C or SIGTERM. Fails if a process ends earlier.
pub async fn run(data: &DataFolder, options: Options) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let stop = aftercall_common::process::shutdown::on_signal().context("cannot watch for Ctrl-C")?;
    let _lock = data.acquire()?;
    let addresses = Addresses::choose(&options, &data.path("ports.json"))?;
    data.remove_running();

    let progress = if options.verbose { Progress::visible() } else { Progress::quiet() };
    let start = StartContext::new(data, &options, &addresses, &config, &progress)?;
    let started = stop.run_until_cancelled(Deployment::start(&start)).await;
    progress.finish();
    let Some(started) = started else {
        eprintln!("stopped before all processes had started");
        return Ok(());
    };
    let mut deployment = started?;
    let demo = Demo::prepare(&start, &deployment)?;
    let mut watch = Watch {
        activity: Activity::of(deployment.running())?,
        logs: LogFollower::follow(
            deployment.services(),
            if options.verbose { Shown::All } else { Shown::Problems },
        ),
        progress: if options.verbose { Progress::silent() } else { Progress::last_line() },
    };
    data.write_running(deployment.running())?;
    print!("{}", summary::text(&start, &deployment.running, demo.is_some()));
    let ended = watch.run(&mut deployment, demo, &stop).await;
    data.remove_running();
    watch.stop(&mut deployment).await;
    ended
}
