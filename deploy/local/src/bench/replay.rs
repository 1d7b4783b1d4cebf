//! A large backlog after an outage: how fast it is worked off, and whether the webhooks of now are seen
//! meanwhile.

use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::jetstream;

use super::{
    Bench,
    backlog::{self, Kind},
    load,
    measure::{self, Series, Times},
    stack::{self, Side},
    table::{Bar, Row, Table},
    visible,
};

/// Pause between two webhooks of now.
const PAUSE: Duration = Duration::from_millis(50);
/// A backlog is noticed within so long; what comes before is part of it.
const NOTICED: Duration = Duration::from_secs(2);
const LIVE_BAR: f64 = 1000.0;

/// How large a backlog.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of the replay")]
#[group(id = "replay")]
pub struct Options {
    /// Webhooks stored while no worker ran: whole calls of five
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    backlog: usize,
}

/// Fills a stream, starts a worker, and posts webhooks beside.
pub(super) async fn run(bench: &Bench, options: &Options) -> anyhow::Result<(Table, Vec<Bar>)> {
    let (broker, database) = (stack::broker(bench, true).await?, stack::database(bench).await?);
    let client = async_nats::connect(broker.url()).await?;
    for first in (0..options.backlog).step_by(50_000) {
        bench.progress.step(&format!("replay: storing webhooks, {first} of {}", options.backlog));
        backlog::fill(&client, Kind::Whole, first, (options.backlog - first).min(50_000)).await?;
    }
    let gateway = stack::gateway(bench, Side::Ours, &broker).await?;
    let calls = visible::calls(&database).await?;
    let context = jetstream::new(client);

    let begin = Instant::now();
    let worker = stack::worker(bench, Side::Ours, &broker, &database.url()).await?;
    tokio::time::sleep(NOTICED).await;
    let mut live = Times::new()?;
    let total = loop {
        let (posted, number) = (Instant::now(), load::one(gateway.address).await?);
        visible::until(&calls, &load::call_id(number)).await?;
        let took = posted.elapsed();
        let left = backlog::look(&context, 0).await?.left;
        if left == 0 {
            break begin.elapsed();
        }
        live.record(took)?;
        bench.progress.step(&format!("replay: {left} of {} left", options.backlog));
        tokio::time::sleep(PAUSE).await;
    };
    ensure!(
        live.count() > 0.0,
        "the backlog is too small: it was worked off before anything could be posted"
    );
    let whole = calls.count_documents(mongodb::bson::doc! { "status": "completed" }).await?;
    ensure!(whole >= (options.backlog / 5) as u64, "only {whole} calls are completed");

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let count = options.backlog as f64;
    let slowest = live.ms(1.0);
    let figures = [
        count / total.as_secs_f64(),
        total.as_secs_f64(),
        measure::cpu_seconds(worker.pid())? * 1e6 / count,
        measure::peak_mib(worker.pid())?,
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
    let row =
        Row { case: format!("{} webhooks", options.backlog), figures: figures.map(Series::of).to_vec() };
    let title = "A backlog worked off by one worker, and webhooks of now from post to document";
    let met = slowest <= LIVE_BAR;
    let text = format!("a webhook of now is seen after {slowest:.0} ms at most (bar {LIVE_BAR:.0})");
    Ok((Table::new(title, &columns, vec![row]), vec![Bar { met, text }]))
}
