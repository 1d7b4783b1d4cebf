//! `cargo lab bench`: measures Aftercall next to the limits of broker and database and to a naive version.
//!
//! Aftercall, the limits and the naive version are measured in the same run. The tables show absolute figures
//! and ratios, because only the ratios are similar on other machines. Each benchmark starts its own servers.
//! This process generates the load, so it shares the machine with the measured processes.

mod backlog;
mod connections;
mod console;
mod context;
mod disturbance;
mod end_to_end;
mod endpoint;
mod events;
mod export;
mod gateway;
mod growth;
mod launch;
mod load;
mod measure;
pub(crate) mod naive;
mod raw;
mod release_build;
mod replay;
mod spool;
mod steady;
mod table;
mod untrusted;
mod visible;
mod worker;
mod workers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aftercall_local::{data_folder::DataFolder, process::Launcher, progress::Progress};
use anyhow::Context as _;
use clap::ValueEnum;

use self::{
    context::Bench,
    table::{Table, Target},
};

/// Benchmarks to run, and their duration.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Benchmark to run [default: all except growth]
    #[arg(value_name = "BENCHMARK")]
    benchmark: Option<Benchmark>,
    /// Number of measurements of each case, alternating with the cases that it is compared with
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement, after one second of warm-up
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Roles of the measured workers
    #[arg(long, value_name = "LIST", default_value = "status")]
    roles: String,
    /// Measure only cases whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Also write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    replay: replay::Options,
    #[command(flatten)]
    connections: connections::Options,
    #[command(flatten)]
    untrusted: untrusted::Options,
    #[command(flatten)]
    console: console::Options,
    #[command(flatten)]
    export: export::Options,
    #[command(flatten)]
    growth: growth::Options,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Webhooks per second at the gateway, and latency
    Gateway,
    /// A backlog of webhooks drained into the database
    Worker,
    /// A backlog drained by one, two and four workers, with a near and with a distant database
    Workers,
    /// Time from a webhook to its document
    EndToEnd,
    /// Processor time of a webhook at a steady rate, and time to its document
    Steady,
    /// Time from a document to its event in the stream `CALLS`
    Events,
    /// A million webhooks processed after an outage, and the latency of new ones meanwhile
    Replay,
    /// Webhooks per second if the gateway's own disk comes first (`SPOOL=first`)
    Spool,
    /// Effect of ten thousand idle and a thousand slow connections on webhooks
    Connections,
    /// Effect of untrusted senders on webhooks
    Untrusted,
    /// An export of a million calls: speed and memory
    Export,
    /// The console: pages with a million stored calls, live viewers, time from a webhook to their screens
    Console,
    /// Cost of an event by number of stored calls and messages; slow, so it runs only by name
    Growth,
}

/// Runs the benchmarks and prints the tables. Exits with failure if a target is missed.
pub async fn command(data: &DataFolder, options: Options) -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        return release_build::run_again().await;
    }
    std::fs::create_dir_all(data.root()).context("cannot make the data folder")?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(data.root())?;
    let bench = Bench {
        launcher: Launcher::current()?,
        folder,
        rounds: options.rounds,
        time: Duration::try_from_secs_f64(options.seconds).context("--seconds")?,
        roles: options.roles.clone(),
        only: options.only.clone(),
        progress: Progress::visible(),
    };
    let (tables, targets) = run(&bench, &options).await?;
    bench.progress.finish();
    for table in &tables {
        println!("{table}");
    }
    for target in &targets {
        println!("{target}");
    }
    if let Some(file) = options.json {
        let json = serde_json::to_string_pretty(&tables).context("cannot convert the results to JSON")?;
        std::fs::write(&file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let mut met = targets.iter().all(|target| target.met);
    if options.benchmark.is_none_or(|benchmark| benchmark == Benchmark::Console) {
        met &= console::run(options.console).await? == ExitCode::SUCCESS;
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the chosen benchmarks, except the benchmark of the console, which prints its own results.
async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Vec<Table>, Vec<Target>)> {
    let (mut tables, mut targets) = (Vec::<Table>::new(), Vec::new());
    let chosen = |benchmark: Benchmark| options.benchmark.is_none_or(|chosen| chosen == benchmark);
    if chosen(Benchmark::Gateway) {
        tables.extend(gateway::run(bench).await?);
    }
    if chosen(Benchmark::Worker) {
        tables.extend(worker::run(bench).await?);
    }
    if chosen(Benchmark::Steady) {
        tables.push(steady::run(bench).await?);
    }
    let mut add = |(table, more): (Table, Vec<Target>)| {
        tables.push(table);
        targets.extend(more);
    };
    if chosen(Benchmark::Workers) {
        add(workers::run(bench).await?);
    }
    if chosen(Benchmark::EndToEnd) {
        add(end_to_end::run(bench).await?);
    }
    if chosen(Benchmark::Events) {
        add(events::run(bench).await?);
    }
    if chosen(Benchmark::Replay) {
        add(replay::run(bench, &options.replay).await?);
    }
    if chosen(Benchmark::Spool) {
        add(spool::run(bench).await?);
    }
    if chosen(Benchmark::Connections) {
        add(connections::run(bench, &options.connections).await?);
    }
    if chosen(Benchmark::Untrusted) {
        add(untrusted::run(bench, &options.untrusted).await?);
    }
    if chosen(Benchmark::Export) {
        add(export::run(bench, &options.export).await?);
    }
    if options.benchmark == Some(Benchmark::Growth) {
        let (more_tables, more) = growth::run(bench, &options.growth).await?;
        tables.extend(more_tables);
        targets.extend(more);
    }
    Ok((tables, targets))
}
