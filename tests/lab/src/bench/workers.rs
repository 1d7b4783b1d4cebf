//! Several workers on one backlog: with a near database, which is then the bottleneck, and with a distant
//! one, for which the workers wait.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    backlog::{self, Kind},
    context::Bench,
    launch::{self, Implementation},
    measure::Series,
    table::{Row, Table, Target},
};
use crate::link::{Link, Mode};

/// Numbers of workers.
const WORKERS: [usize; 3] = [1, 2, 4];
/// Events of a backlog with a near database. The work takes several seconds, so the time to start the last
/// worker hardly counts.
const EVENTS: usize = 200_000;
/// Events of a backlog with a distant database.
const EVENTS_DISTANT: usize = 50_000;
/// Delay of every 64 KiB in each direction of the connection to the distant database.
const DISTANCE: Duration = Duration::from_millis(20);

/// Target for the speed of two workers relative to one with a distant database.
const DISTANT_TARGET: f64 = 1.6;
/// Target for the same ratio with a near database. It is below 1 because measurements vary.
const NEAR_TARGET: f64 = 0.9;

/// A case, with the events per second for each number of workers.
struct Case {
    name: &'static str,
    kind: Kind,
    distant: bool,
    rates: [Series; WORKERS.len()],
}

/// Measures every case, alternating between the numbers of workers.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Target>)> {
    let case = |name, kind, distant| Case { name, kind, distant, rates: Default::default() };
    let mut cases = [
        case("distinct calls, near database", Kind::Distinct, false),
        case("whole calls of five, near database", Kind::Whole, false),
        case("distinct calls, distant database", Kind::Distinct, true),
    ];
    for round in 1..=bench.rounds {
        for case in &mut cases {
            for (workers, rates) in WORKERS.into_iter().zip(&mut case.rates) {
                let name = case.name;
                bench.progress.step(&format!("{workers} workers: {name}, round {round} of {}", bench.rounds));
                rates.push(drain(bench, case.kind, case.distant, workers).await.context(name)?);
            }
        }
    }
    let mut targets = Vec::new();
    let rows = cases.into_iter().map(|Case { name, distant, rates: [one, two, four], .. }| {
        let (twice, four_times) = (two.ratio_to(&one), four.ratio_to(&one));
        let (speedup, target) = (twice.summary().median, if distant { DISTANT_TARGET } else { NEAR_TARGET });
        let text = format!("{name}: two workers are {speedup:.2} times as fast as one (target: {target})");
        targets.push(Target { met: speedup >= target, text });
        Row { case: name.to_owned(), figures: vec![one, two, twice, four, four_times] }
    });
    let rows = rows.collect();
    let columns = [("one, events/s", 0), ("two", 0), ("/ one", 2), ("four", 0), ("/ one", 2)];
    Ok((Table::new("A backlog drained by several workers; median (least-most)", &columns, rows), targets))
}

/// Measures the events per second of one case.
async fn drain(bench: &Bench, kind: Kind, distant: bool, workers: usize) -> anyhow::Result<f64> {
    let (broker, database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let client = async_nats::connect(broker.url()).await?;
    let (events, mode) = if distant { (EVENTS_DISTANT, Mode::Slow(DISTANCE)) } else { (EVENTS, Mode::Open) };
    backlog::fill(&client, kind, 0, events).await?;
    let port = database.url().split(['/', ':']).find_map(|part| part.parse::<u16>().ok());
    let link = Link::to(port.context("a database without a port")?).await?;
    link.set(mode);
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", link.port());
    let mut processes = Vec::with_capacity(workers);
    for _ in 0..workers {
        processes.push(launch::worker(bench, Implementation::Aftercall, &broker, &uri).await?);
    }
    Ok(backlog::drained(client, events, []).await?.0)
}
