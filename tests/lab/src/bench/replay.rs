//! A large backlog after an outage: time until it is processed, and latency of new webhooks meanwhile.

use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::jetstream;

use super::{
    backlog::{self, Kind},
    context::Bench,
    launch::{self, Implementation},
    load,
    measure::{self, Series, Times},
    table::{Row, Table, Target},
    visible,
};

/// Pause between two new webhooks.
const NEW_WEBHOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time within which the worker detects the backlog. Webhooks before that belong to the backlog.
const DETECTION_TIME: Duration = Duration::from_secs(2);
/// Target for the slowest new webhook, in milliseconds.
const MAX_LATENCY_MS: f64 = 1000.0;

/// Size of the backlog.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Benchmark replay")]
#[group(id = "replay")]
pub struct Options {
    /// Webhooks in the backlog, five per call
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    backlog: usize,
}

/// Fills a stream, starts a worker, and posts new webhooks until the backlog is processed.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Target>)> {
    let (broker, database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let client = async_nats::connect(broker.url()).await?;
    for first in (0..options.backlog).step_by(50_000) {
        bench.progress.step(&format!("replay: storing webhooks, {first} of {}", options.backlog));
        backlog::fill(&client, Kind::Whole, first, (options.backlog - first).min(50_000)).await?;
    }
    let gateway = launch::gateway(bench, Implementation::Aftercall, &broker).await?;
    let calls = visible::calls(&database).await?;
    let context = jetstream::new(client);

    let begin = Instant::now();
    let worker = launch::worker(bench, Implementation::Aftercall, &broker, &database.url()).await?;
    tokio::time::sleep(DETECTION_TIME).await;
    let mut live = Times::new()?;
    let total = loop {
        let (posted, number) = (Instant::now(), load::one(gateway.address).await?);
        visible::wait_for(&calls, &load::call_id(number)).await?;
        let took = posted.elapsed();
        let left = backlog::progress(&context, 0).await?.left;
        if left == 0 {
            break begin.elapsed();
        }
        live.record(took)?;
        bench.progress.step(&format!("replay: {left} of {} left", options.backlog));
        tokio::time::sleep(NEW_WEBHOOK_INTERVAL).await;
    };
    ensure!(
        live.count() > 0.0,
        "the backlog is too small: the worker processed it before the first new webhook"
    );
    let whole = calls.count_documents(mongodb::bson::doc! { "status": "completed" }).await?;
    ensure!(whole >= (options.backlog / 5) as u64, "only {whole} calls are completed");

    let usage = [measure::cpu_seconds(worker.pid())?, measure::peak_mib(worker.pid())?];
    Ok(results(options.backlog, total, usage, &live))
}

/// The table and the target. `usage` is the processor time of the worker in seconds, and its memory in MiB.
fn results(
    backlog: usize,
    total: Duration,
    [cpu_seconds, peak_mib]: [f64; 2],
    live: &Times,
) -> (Table, Vec<Target>) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let count = backlog as f64;
    let slowest = live.ms(1.0);
    let figures = [
        count / total.as_secs_f64(),
        total.as_secs_f64(),
        cpu_seconds * 1e6 / count,
        peak_mib,
        live.ms(0.5),
        live.ms(0.99),
        slowest,
    ];
    let columns = [
        ("events/s", 0),
        ("seconds", 1),
        ("CPU us", 1),
        ("peak MiB", 1),
        ("live p50 ms", 1),
        ("live p99 ms", 1),
        ("live slowest ms", 1),
    ];
    let row = Row { case: format!("{backlog} webhooks"), figures: figures.map(Series::of).to_vec() };
    let title = "A backlog processed by one worker; new webhooks from post to document";
    let met = slowest <= MAX_LATENCY_MS;
    let text =
        format!("a new webhook has its document after {slowest:.0} ms at most (target: {MAX_LATENCY_MS:.0})");
    (Table::new(title, &columns, vec![row]), vec![Target { met, text }])
}
