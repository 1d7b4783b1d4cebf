//! Gateway and worker together: time from a webhook to its document, next to the naive implementation.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    context::Bench,
    launch::{self, Implementation},
    load,
    measure::Series,
    table::{Row, Table, Target},
    visible::{Posted, calls, watch},
};

/// Webhooks per second.
const RATE: u32 = 100;
/// Connections of the webhooks.
const CONNECTIONS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(1);

/// Target for the ratio of the median to that of the naive implementation.
const MAX_MEDIAN_RATIO: f64 = 1.25;
/// Target for the p99, in milliseconds.
const MAX_P99_MS: f64 = 15.0;

#[derive(Default)]
struct Figures {
    answered: Series,
    p50: Series,
    p99: Series,
}

/// Measures Aftercall and the naive implementation in turn.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Target>)> {
    let (mut aftercall, mut naive) = (Figures::default(), Figures::default());
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("end to end: round {round} of {}", bench.rounds));
        measure(bench, Implementation::Aftercall, &mut aftercall).await.context("gateway and worker")?;
        measure(bench, Implementation::Naive, &mut naive).await.context("the naive gateway and worker")?;
    }
    let ratio = aftercall.p50.ratio_to(&naive.p50);
    let (median, p99) = (ratio.summary().median, aftercall.p99.summary().median);
    let row = |case: &str, figures: Figures, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.answered, figures.p50, ratio, figures.p99],
    };
    let rows = vec![
        row("gateway and worker", aftercall, ratio),
        row("naive gateway and worker", naive, Series::default()),
    ];
    let columns = [("200 p50 ms", 2), ("document p50 ms", 2), ("/ naive", 2), ("document p99 ms", 2)];
    let title = format!(
        "From the post of a webhook to its 200, and to its document: {RATE} a second, sync always, \
         w: majority, j: true; median (least-most)"
    );
    let targets = vec![
        Target {
            met: median <= MAX_MEDIAN_RATIO,
            text: format!("median {median:.2} times the naive one (target: {MAX_MEDIAN_RATIO})"),
        },
        Target { met: p99 < MAX_P99_MS, text: format!("p99 {p99:.1} ms (target: {MAX_P99_MS:.0})") },
    ];
    Ok((Table::new(title, &columns, rows), targets))
}

/// Measures one implementation with new servers.
async fn measure(bench: &Bench, implementation: Implementation, figures: &mut Figures) -> anyhow::Result<()> {
    let (broker, database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let _worker = launch::worker(bench, implementation, &broker, &database.url()).await?;
    let gateway = launch::gateway(bench, implementation, &broker).await?;
    let calls = calls(&database).await?;
    for time in [WARM_UP.min(bench.time), bench.time] {
        // The first load warms up the processes.
        let posted = Posted::default();
        let post = posted.clone();
        let load = load::paced(gateway.address, CONNECTIONS, RATE, time, move |number| post.record(number));
        let (answers, documents) = watch(&calls, &posted, load).await?;
        if time == bench.time {
            figures.answered.push(answers.ms(0.5));
            figures.p50.push(documents.ms(0.5));
            figures.p99.push(documents.ms(0.99));
        }
    }
    Ok(())
}
