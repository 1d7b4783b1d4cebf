//! `cargo local bench`: how fast Aftercall is, next to what broker and database could do at most and to a
//! naive version of it, all measured in the same run.
//!
//! Ratios carry from machine to machine, figures do not: every table names both. Servers are the bench's
//! own and private; the load comes from this process, so it shares the machine with what it measures.

mod backlog;
mod console;
mod crowd;
mod end_to_end;
mod gateway;
mod growth;
mod load;
mod measure;
pub(crate) mod naive;
mod optimized;
mod raw;
mod replay;
mod several;
mod stack;
mod strangers;
mod table;
mod visible;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;

use self::table::{Bar, Table};
use crate::{process::Launcher, progress::Progress, running::Data};

/// What to measure, and how thoroughly.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to measure [default: everything but growth]
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
    replay: replay::Options,
    #[command(flatten)]
    crowd: crowd::Options,
    #[command(flatten)]
    strangers: strangers::Options,
    #[command(flatten)]
    console: console::Options,
    #[command(flatten)]
    growth: growth::Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Webhooks answered per second, and how soon
    Gateway,
    /// A backlog of webhooks drained into the database
    Worker,
    /// A backlog drained by one, two and four workers, with the database at hand and far away
    Workers,
    /// From the post of a webhook to its document
    EndToEnd,
    /// A million webhooks worked off after an outage, and those that come meanwhile
    Replay,
    /// What ten thousand idle connections and a thousand slow ones do to everybody else
    Crowd,
    /// What senders that nobody trusts do to the provider's webhooks
    Strangers,
    /// The console: its pages with a million calls stored, live viewers, the time to their screens
    Console,
    /// What an event costs with more and more calls stored and messages in the stream; takes long, so only
    /// when asked for
    Growth,
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
    let (mut tables, mut bars) = (Vec::<Table>::new(), Vec::new());
    let chosen = |what: What| options.what.is_none_or(|chosen| chosen == what);
    if chosen(What::Gateway) {
        tables.extend(gateway::run(&bench).await?);
    }
    if chosen(What::Worker) {
        tables.extend(worker::run(&bench).await?);
    }
    let mut add = |(table, its_bars): (Table, Vec<Bar>)| {
        tables.push(table);
        bars.extend(its_bars);
    };
    if chosen(What::Workers) {
        add(several::run(&bench).await?);
    }
    if chosen(What::EndToEnd) {
        add(end_to_end::run(&bench).await?);
    }
    if chosen(What::Replay) {
        add(replay::run(&bench, &options.replay).await?);
    }
    if chosen(What::Crowd) {
        add(crowd::run(&bench, &options.crowd).await?);
    }
    if chosen(What::Strangers) {
        add(strangers::run(&bench, &options.strangers).await?);
    }
    if options.what == Some(What::Growth) {
        let (its_tables, its_bars) = growth::run(&bench, &options.growth).await?;
        tables.extend(its_tables);
        bars.extend(its_bars);
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
    let mut met = bars.iter().all(|bar| bar.met);
    if options.what.is_none_or(|what| what == What::Console) {
        met &= console::run(options.console).await? == ExitCode::SUCCESS;
    }
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
