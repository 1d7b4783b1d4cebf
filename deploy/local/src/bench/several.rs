//! Several workers on one backlog: with the database at hand, where it is the bound, and with one that makes
//! them wait.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    Bench,
    backlog::{self, Kind},
    measure::Series,
    stack::{self, Side},
    table::{Bar, Row, Table},
};
use crate::chaos::link::{Link, Mode};

/// Workers at a time.
const WORKERS: [usize; 3] = [1, 2, 4];
/// Events of a backlog: several seconds of work, of which the start of the last worker is a small part.
const EVENTS: usize = 200_000;
const EVENTS_AWAY: usize = 50_000;
/// Each way to the database that makes them wait, for every 64 KiB.
const AWAY: Duration = Duration::from_millis(20);

/// Times as fast two workers are to be as one, where they wait and where the database is the bound. Less than one
/// is within the noise of such a run.
const WAITING_BAR: f64 = 1.6;
const BOUND_BAR: f64 = 0.9;

/// One case, an event rate for each number of workers.
struct Case {
    name: &'static str,
    kind: Kind,
    away: bool,
    rates: [Series; WORKERS.len()],
}

/// Measures every case with each number of workers in turn.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<(Table, Vec<Bar>)> {
    let case = |name, kind, away| Case { name, kind, away, rates: Default::default() };
    let mut cases = [
        case("distinct calls, database at hand", Kind::Distinct, false),
        case("whole calls of five, database at hand", Kind::Whole, false),
        case("distinct calls, database far away", Kind::Distinct, true),
    ];
    for round in 1..=bench.rounds {
        for case in &mut cases {
            for (workers, rates) in WORKERS.into_iter().zip(&mut case.rates) {
                let name = case.name;
                bench.progress.step(&format!("{workers} workers: {name}, round {round} of {}", bench.rounds));
                rates.push(drain(bench, case.kind, case.away, workers).await.context(name)?);
            }
        }
    }
    let mut bars = Vec::new();
    let rows = cases.into_iter().map(|Case { name, away, rates: [one, two, four], .. }| {
        let (twice, four_times) = (two.by(&one), four.by(&one));
        let (faster, bar) = (twice.summary().median, if away { WAITING_BAR } else { BOUND_BAR });
        let text = format!("{name}: two workers are {faster:.2} times as fast as one (bar {bar})");
        bars.push(Bar { met: faster >= bar, text });
        Row { case: name.to_owned(), figures: vec![one, two, twice, four, four_times] }
    });
    let rows = rows.collect();
    let columns = [("one, events/s", 0), ("two", 0), ("/ one", 2), ("four", 0), ("/ one", 2)];
    Ok((Table::new("A backlog drained by several workers; median (least-most)", &columns, rows), bars))
}

/// Events per second.
async fn drain(bench: &Bench, kind: Kind, away: bool, workers: usize) -> anyhow::Result<f64> {
    let (broker, database) = (stack::broker(bench, true).await?, stack::database(bench).await?);
    let client = async_nats::connect(broker.url()).await?;
    let (events, mode) = if away { (EVENTS_AWAY, Mode::Slow(AWAY)) } else { (EVENTS, Mode::Open) };
    backlog::fill(&client, kind, 0, events).await?;
    let port = database.url().split(['/', ':']).find_map(|part| part.parse::<u16>().ok());
    let link = Link::to(port.context("a database without a port")?).await?;
    link.set(mode);
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", link.port());
    let mut processes = Vec::with_capacity(workers);
    for _ in 0..workers {
        processes.push(stack::worker(bench, Side::Ours, &broker, &uri).await?);
    }
    Ok(backlog::drained(client, events, []).await?.0)
}
