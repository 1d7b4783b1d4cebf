//! `cargo local bench`: how fast Aftercall is, next to what broker and database could do at most and to a
//! naive version of it, all measured in the same run.
//!
//! Ratios carry from machine to machine, figures do not: every table names both. Servers are the bench's
//! own and private; the load comes from this process, so it shares the machine with what it measures.

mod backlog;
mod console;
mod crowd;
mod gateway;
mod load;
mod measure;
pub(crate) mod naive;
mod optimized;
mod raw;
mod table;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;

use self::table::Table;
use crate::{process::Launcher, progress::Progress, running::Data};

/// What to measure, and how thoroughly.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to measure [default: everything]
    #[arg(value_name = "WHAT")]
    what: Option<What>,
    /// Times that each case is measured, in turn with the others it is compared with
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that each measurement takes, after one of warming up
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Also write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    crowd: crowd::Options,
    #[command(flatten)]
    console: console::Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Webhooks answered per second, and how soon
    Gateway,
    /// A backlog of webhooks drained into the database
    Worker,
    /// What ten thousand idle connections and a thousand slow ones do to everybody else
    Crowd,
    /// The console: its pages with a million calls stored, live viewers, the time to their screens
    Console,
}

/// What every bench works with.
struct Bench {
    launcher: Launcher,
    /// Configuration, streams, logs; removed at the end.
    folder: tempfile::TempDir,
    rounds: u32,
    time: Duration,
    only: String,
    progress: Progress,
}

/// The command.
pub async fn command(data: &Data, options: Options) -> anyhow::Result<ExitCode> {
    if cfg!(debug_assertions) {
        return optimized::run_again().await;
    }
    std::fs::create_dir_all(data.root()).context("cannot make the data folder")?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(data.root())?;
    let bench = Bench {
        launcher: Launcher::current()?,
        folder,
        rounds: options.rounds,
        time: Duration::try_from_secs_f64(options.seconds).context("--seconds")?,
        only: options.only,
        progress: Progress::new(),
    };
    let mut tables: Vec<Table> = Vec::new();
    if options.what.is_none_or(|what| what == What::Gateway) {
        tables.extend(gateway::run(&bench).await?);
    }
    if options.what.is_none_or(|what| what == What::Worker) {
        tables.extend(worker::run(&bench).await?);
    }
    let mut bars = Vec::new();
    if options.what.is_none_or(|what| what == What::Crowd) {
        let (table, its_bars) = crowd::run(&bench, &options.crowd).await?;
        tables.push(table);
        bars = its_bars;
    }
    bench.progress.finish();
    for table in &tables {
        println!("{table}");
    }
    for bar in &bars {
        println!("{bar}");
    }
    if let Some(file) = options.json {
        let json = serde_json::to_string_pretty(&tables).context("the results are no JSON")?;
        std::fs::write(&file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let held = bars.iter().all(|bar| bar.met);
    if options.what.is_none_or(|what| what == What::Console) {
        let code = console::run(options.console).await?;
        return Ok(if held { code } else { ExitCode::FAILURE });
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
