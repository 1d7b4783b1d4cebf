//! `cargo lab chaos`: injects every fault in turn under load, then checks that nothing is lost or wrong.
//!
//! A seed determines the calls, the faults, their order and their duration. Real processes, nats-server and
//! mongod run behind links that can be cut ([`crate::link`]). `load` records every webhook with its answers;
//! `checker` compares that history with stream and database.
//!
//! The processes run the build of this binary: `cargo run --release --package aftercall-lab -- chaos` tests
//! an optimized build.

mod checker;
mod fault;
mod injection;
mod injector;
mod load;
mod report;
mod service;
mod system;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aftercall_local::{data_folder::DataFolder, process::Launcher, progress::Progress};
use anyhow::Context as _;
use rand::RngExt as _;

pub use self::{fault::Fault, injector::Plan, report::Report};
use self::{
    injector::FaultInjector,
    load::{Load, LoadProfile},
    system::System,
};
use crate::disk::{Disk, Durability};

/// Longest time for webhooks that are being posted at the end of the load.
const FINISH_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest acceptable recovery on a machine without other load.
const MAX_RECOVERY: Duration = Duration::from_secs(15);

/// Duration, seed and rate of a round.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Minutes of faults
    #[arg(long, value_name = "N", default_value_t = 5)]
    minutes: u64,
    /// Seed of calls and faults [default: random, printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Webhooks per second [default: 150, with --power-cuts 800]
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Cut the power N times, and inject no other fault
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    power_cuts: Option<usize>,
    /// Write webhooks to the spool before they are published, in the gateway that has one
    #[arg(long)]
    spool_first: bool,
}

/// Settings of a round.
#[derive(Debug)]
pub struct Round {
    /// Seed of calls and faults.
    pub seed: u64,
    /// Webhooks per second.
    pub rate: f64,
    /// Faults to inject.
    pub plan: Plan,
    /// Whether the broker syncs a message before it acknowledges it. Without it a power cut loses webhooks.
    pub sync_always: bool,
    /// Whether one of the gateways writes webhooks to its spool before it publishes them.
    pub spool_first: bool,
    /// Folder for logs and history.
    pub folder: PathBuf,
}

/// Runs a round and prints the report. Keeps logs and history if the round fails.
pub async fn command(data: &DataFolder, options: Options) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let folder = data.path("chaos");
    let _absent = std::fs::remove_dir_all(&folder);
    let (plan, rate, title) = if let Some(cuts) = options.power_cuts {
        (Plan::PowerCuts(cuts), 800.0, format!("{cuts} power cuts"))
    } else {
        let time = Duration::from_secs(options.minutes * 60);
        (Plan::For(time), 150.0, format!("{} minutes of faults", options.minutes))
    };
    println!("{title}  (--seed {seed})");
    let (rate, spool_first) = (options.rate.unwrap_or(rate), options.spool_first);
    let round = Round { seed, rate, plan, sync_always: true, spool_first, folder };
    let report = run(Launcher::current()?, &round, &Progress::visible()).await?;
    print!("{}", report.table());
    if report.is_good(MAX_RECOVERY) {
        std::fs::remove_dir_all(&round.folder).context("cannot remove the logs")?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs and history are in {}", round.folder.display());
    Ok(ExitCode::FAILURE)
}

/// Runs `round` without progress messages.
pub async fn quietly(launcher: Launcher, round: &Round) -> anyhow::Result<Report> {
    run(launcher, round, &Progress::silent()).await
}

async fn run(launcher: Launcher, round: &Round, progress: &Progress) -> anyhow::Result<Report> {
    std::fs::create_dir_all(&round.folder).context("cannot make the folder for logs")?;
    progress.step("starting two gateways, two workers, nats-server and mongod");
    let disk = match Disk::mount(Durability::Journaled) {
        Ok(disk) => Some(disk),
        Err(error) if matches!(round.plan, Plan::PowerCuts(_)) => return Err(error),
        Err(error) => {
            progress.note(&format!("no faults of the disk: {error:#}"));
            None
        }
    };
    let faults: Vec<_> = Fault::all().filter(|fault| disk.is_some() || !fault.needs_disk()).collect();
    let spool_mode = if round.spool_first { "first" } else { "fallback" };
    let mut system = System::start(launcher, &round.folder, disk, round.sync_always, spool_mode).await?;
    let duplicates = if matches!(round.plan, Plan::PowerCuts(_)) { 0.01 } else { 0.2 };
    let profile = LoadProfile { rate: round.rate, duplicates };
    let load = Load::start(system.urls.clone(), system.http.clone(), round.seed, profile);
    let mut injector = FaultInjector::new(&load, progress, round.seed, round.plan);
    let injected = injector.run(&mut system, &faults).await;
    let recoveries = injector.recoveries;
    progress.step("waiting until every webhook is processed");
    let sent = load.finish(if injected.is_ok() { FINISH_TIMEOUT } else { Duration::ZERO }).await?;
    load::write_history(&sent.history, &round.folder.join("history.jsonl"))
        .context("cannot write the history")?;
    injected?;
    let mut report = checker::check(&system, &sent, &format!("chaos{:x}", round.seed)).await?;
    for (fault, took) in recoveries {
        report.recoveries.entry(fault).or_default().push(took);
    }
    progress.finish();
    Ok(report)
}
