//! `aftercall-worker export` of a million calls: speed, memory, and whether its rows are the stored calls.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde_json::Value;

use super::{
    console,
    context::Bench,
    launch, measure,
    measure::Series,
    table::{Row, Table, Target},
    visible,
};

/// Target for the calls per second.
const MIN_CALLS_PER_SECOND: f64 = 20_000.0;
/// Target for the memory of the process, in MiB.
const MAX_MEMORY_MIB: f64 = 100.0;
/// Interval in which the memory is read.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Number of calls.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark export")]
#[group(id = "export")]
pub struct Options {
    /// Calls to export
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    exported: u32,
}

/// Stores calls and exports them in both forms.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Target>)> {
    let database = launch::database(bench).await?;
    let calls = visible::calls(&database).await?;
    console::seed(&calls, options.exported, &bench.progress).await?;
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for format in ["csv", "ndjson"] {
        bench.progress.step(&format!("export: {format}"));
        let file = bench.folder.path().join(format!("calls.{format}"));
        let arguments = ["export", "--format", format, "--show-numbers", "--output"];
        let log = bench.folder.path().join("export.log");
        let command = bench.launcher.service("worker", log).clean_env().args(arguments).arg(&file);
        let command = command.env("MONGODB_URI", database.url()).env("MONGODB_DATABASE", launch::DATABASE);
        let begin = Instant::now();
        let mut process = bench.launcher.spawn(&command).await?;
        let mut usage = [0.0; 2];
        while process.is_running() {
            // The process may have ended since.
            if let (Ok(peak), Ok(cpu)) =
                (measure::peak_mib(process.pid()), measure::cpu_seconds(process.pid()))
            {
                usage = [peak, cpu];
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let seconds = begin.elapsed().as_secs_f64();
        ensure!(process.wait(POLL_INTERVAL).await?.success(), "the export failed: {}", process.log_tail(3));
        if format == "ndjson" {
            bench.progress.step("export: comparing");
            compare(&calls, &file).await?;
        }
        let count = f64::from(options.exported);
        let [peak, cpu] = usage;
        let figures = [count / seconds, seconds, cpu * 1e6 / count, peak];
        rows.push(Row { case: format.to_owned(), figures: figures.map(Series::of).to_vec() });
        targets.push(Target {
            met: count / seconds >= MIN_CALLS_PER_SECOND && peak < MAX_MEMORY_MIB,
            text: format!(
                "{format}: {:.0} calls/s (target: {MIN_CALLS_PER_SECOND:.0}) in {peak:.1} MiB (target: {MAX_MEMORY_MIB:.0})",
                count / seconds
            ),
        });
    }
    let columns = [("calls/s", 0), ("seconds", 1), ("CPU us", 1), ("peak MiB", 1)];
    let title = format!("An export of {} calls", options.exported);
    Ok((Table::new(title, &columns, rows), targets))
}

/// Compares ids, time and state of each call in the file with the stored calls.
async fn compare(calls: &Collection<Document>, file: &Path) -> anyhow::Result<()> {
    const TEXTS: [&str; 8] = [
        "callId",
        "conversationId",
        "agentId",
        "toNumber",
        "status",
        "outcome",
        "failureReason",
        "batchCallId",
    ];
    let mut lines = BufReader::new(File::open(file)?).lines();
    let mut stored = calls.find(doc! {}).sort(doc! { "createdAt": -1, "_id": -1 }).batch_size(5000).await?;
    let mut count = 0_u64;
    while let Some(call) = stored.try_next().await? {
        let line: Value = serde_json::from_str(&lines.next().context("calls are missing")??)?;
        let created = call.get_datetime("createdAt")?.timestamp_millis();
        let is_equal = TEXTS.iter().all(|name| line[name].as_str() == call.get_str(name).ok())
            && line["createdAt"].as_str().context("no date")?.parse::<Timestamp>()?.as_millisecond()
                == created;
        ensure!(is_equal, "call {count} differs: {line} and {call}");
        count += 1;
    }
    ensure!(lines.next().is_none(), "the file has more than the {count} stored calls");
    Ok(())
}
