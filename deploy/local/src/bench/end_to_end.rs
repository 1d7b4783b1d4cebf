//! Both halves: from the post of a webhook to the document of its call, next to the naive pair.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    Bench, load,
    measure::Series,
    stack::{self, Side},
    table::{Bar, Row, Table},
    visible::{Posted, calls, watch},
};

/// Webhooks per second: a busy campaign.
const RATE: u32 = 100;
/// Connections they come over.
const CONNECTIONS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(1);

const MEDIAN_BAR: f64 = 1.25;
const P99_BAR: f64 = 15.0;

#[derive(Default)]
struct Figures {
    answered: Series,
    p50: Series,
    p99: Series,
}

/// Measures ours and the twins in turn.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Bar>)> {
    let (mut ours, mut twins) = (Figures::default(), Figures::default());
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("end to end: round {round} of {}", bench.rounds));
        one(bench, Side::Ours, &mut ours).await.context("gateway and worker")?;
        one(bench, Side::Twin, &mut twins).await.context("the naive pair")?;
    }
    let ratio = ours.p50.by(&twins.p50);
    let (median, p99) = (ratio.summary().median, ours.p99.summary().median);
    let row = |case: &str, figures: Figures, ratio| Row {
        case: case.to_owned(),
        figures: vec![figures.answered, figures.p50, ratio, figures.p99],
    };
    let rows = vec![row("gateway and worker", ours, ratio), row("naive pair", twins, Series::default())];
    let columns = [("200 p50 ms", 2), ("document p50 ms", 2), ("/ naive pair", 2), ("document p99 ms", 2)];
    let title = format!(
        "From the post of a webhook to its 200, and to its document: {RATE} a second, sync always, \
         w: majority, j: true; median (least-most)"
    );
    let bars = vec![
        Bar {
            met: median <= MEDIAN_BAR,
            text: format!("median {median:.2} times the naive pair's (bar {MEDIAN_BAR})"),
        },
        Bar { met: p99 < P99_BAR, text: format!("p99 {p99:.1} ms (bar {P99_BAR:.0})") },
    ];
    Ok((Table::new(title, &columns, rows), bars))
}

async fn one(bench: &Bench, side: Side, figures: &mut Figures) -> anyhow::Result<()> {
    let (broker, database) = (stack::broker(bench, true).await?, stack::database(bench).await?);
    let _worker = stack::worker(bench, side, &broker, &database.url()).await?;
    let gateway = stack::gateway(bench, side, &broker).await?;
    let calls = calls(&database).await?;
    for time in [WARM_UP.min(bench.time), bench.time] {
        // The first is to warm up.
        let posted = Posted::default();
        let post = posted.clone();
        let load = load::paced(gateway.address, CONNECTIONS, RATE, time, move |number| post.now(number));
        let (answers, documents) = watch(&calls, &posted, load).await?;
        if time == bench.time {
            figures.answered.push(answers.ms(0.5));
            figures.p50.push(documents.ms(0.5));
            figures.p99.push(documents.ms(0.99));
        }
    }
    Ok(())
}
