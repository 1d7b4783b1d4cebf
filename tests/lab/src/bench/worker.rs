//! The worker: events per second from a backlog, next to the naive worker and to commands with the updates of the naive
//! worker.

use std::time::{Duration, Instant};

use aftercall_local::server::Server;
use aftercall_worker::{
    domain::{
        call::CallPatch,
        event::{self, Envelope, Origin, Provider},
    },
    store::Calls as _,
};
use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use serde_json::Value;

use super::{
    backlog::{self, Kind},
    context::Bench,
    launch::{self, Implementation},
    measure::{self, Series},
    naive::worker::plain_update,
    table::{Row, Table},
};

/// Statements per plain update command.
const STATEMENTS: usize = 500;
/// Number of events in a backlog: for Aftercall, and for the naive worker.
const EVENTS: (usize, usize) = (30_000, 2_000);

#[derive(Default)]
struct Figures {
    aftercall: Series,
    naive: Series,
    raw: Series,
    cpu: Series,
    broker: Series,
    database: Series,
    resident: Series,
}

/// Measures every case.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Vec<Table>> {
    let mut rows = Vec::new();
    let cases = [
        ("distinct calls", Kind::Distinct),
        ("whole calls of five", Kind::Whole),
        ("known calls", Kind::Known),
    ];
    let mut limit = Series::default();
    for (name, kind) in cases.into_iter().filter(|(name, _)| name.contains(&bench.only)) {
        let mut figures = Figures::default();
        for round in 1..=bench.rounds {
            bench.progress.step(&format!("worker: {name}, round {round} of {}", bench.rounds));
            one_round(bench, kind, &mut figures).await.with_context(|| name.to_owned())?;
        }
        if kind == Kind::Distinct {
            limit = figures.raw.clone();
        }
        let Figures { aftercall, naive, raw, cpu, broker, database, resident } = figures;
        let (to_raw, to_naive) =
            (aftercall.ratio_to(if kind == Kind::Whole { &limit } else { &raw }), aftercall.ratio_to(&naive));
        let figures = vec![aftercall, raw, naive, to_raw, to_naive, cpu, broker, database, resident];
        rows.push(Row { case: name.to_owned(), figures });
    }
    let columns = [
        ("events/s", 0),
        ("raw updates/s", 0),
        ("naive/s", 0),
        ("/ raw", 2),
        ("/ naive", 1),
        ("CPU us", 1),
        ("nats-server CPU us", 1),
        ("mongod CPU us", 1),
        ("MiB", 1),
    ];
    let title = "Worker: a backlog drained, w: majority, j: true; median (least-most)";
    Ok(if rows.is_empty() { Vec::new() } else { vec![Table::new(title, &columns, rows)] })
}

async fn one_round(bench: &Bench, kind: Kind, figures: &mut Figures) -> anyhow::Result<()> {
    figures.raw.push(raw_updates(bench, kind).await.context("raw updates")?);
    drain(bench, kind, Implementation::Aftercall, figures).await.context("worker")?;
    drain(bench, kind, Implementation::Naive, figures).await.context("naive worker")
}

/// Fills a stream, and measures a worker that drains it.
async fn drain(
    bench: &Bench,
    kind: Kind,
    implementation: Implementation,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (mut broker, mut database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let events = if implementation == Implementation::Aftercall { EVENTS.0 } else { EVENTS.1 };
    store_known_calls(kind, events, &database).await?;
    let client = async_nats::connect(broker.url()).await?;
    backlog::fill(&client, kind, 0, events).await?;
    let process = launch::worker(bench, implementation, &broker, &database.url()).await?;
    let pids = [process.pid(), broker.process().pid(), database.process().pid()];
    let (rate, cpu) = backlog::drained(client, events, pids).await?;
    match implementation {
        Implementation::Aftercall => {
            figures.aftercall.push(rate);
            let columns = [&mut figures.cpu, &mut figures.broker, &mut figures.database];
            columns.into_iter().zip(cpu).for_each(|(column, used)| column.push(used));
            figures.resident.push(measure::resident_mib(process.pid())?);
        }
        Implementation::Naive => figures.naive.push(rate),
    }
    Ok(())
}

/// Events per second by plain update commands with one statement per event: the best of one, two and four
/// concurrent commands.
async fn raw_updates(bench: &Bench, kind: Kind) -> anyhow::Result<f64> {
    let mut best = 0.0_f64;
    for concurrency in [1, 2, 4] {
        let database = launch::database(bench).await?;
        store_known_calls(kind, EVENTS.0, &database).await?;
        let statements: Vec<_> = (0..EVENTS.0).map(|n| statement(kind, n)).collect::<anyhow::Result<_>>()?;
        let commands: Vec<_> = statements.chunks(STATEMENTS).map(command).collect();
        let calls = mongodb::Client::with_uri_str(database.url()).await?.database(launch::DATABASE);
        // Opens the connections before the measurement.
        try_join_all((0..concurrency).map(|_| async { calls.run_command(doc! { "ping": 1 }).await })).await?;
        let (queue, begin) = (std::sync::Mutex::new(commands.into_iter()), Instant::now());
        let sender = async || {
            loop {
                let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                let Some(command) = next else { return anyhow::Ok(()) };
                let answer = calls.run_raw_command(command).await?;
                ensure!(!answer.contains_key("writeErrors"), "{answer}");
            }
        };
        try_join_all((0..concurrency).map(|_| sender())).await?;
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = EVENTS.0 as f64 / begin.elapsed().max(Duration::from_millis(1)).as_secs_f64();
        best = best.max(rate);
    }
    Ok(best)
}

/// Stores the calls that the backlog expects to exist.
async fn store_known_calls(kind: Kind, events: usize, database: &Server) -> anyhow::Result<()> {
    let before: Vec<_> = (0..events)
        .filter_map(|n| Some(patch(&format!("before{n}"), &backlog::before(kind, n)?)))
        .collect::<anyhow::Result<_>>()?;
    if before.is_empty() {
        return Ok(());
    }
    insert(&before, database).await
}

/// Stores `calls`, which are not stored yet.
pub async fn insert(calls: &[CallPatch], database: &Server) -> anyhow::Result<()> {
    let store = launch::store(&database.url()).await?;
    for calls in calls.chunks(STATEMENTS) {
        let failed = store.insert(&calls.iter().collect::<Vec<_>>()).await?;
        ensure!(failed.is_empty(), "{failed:?}");
    }
    store.shutdown().await;
    Ok(())
}

/// The statement of the naive worker for one event.
pub fn statement(kind: Kind, n: usize) -> anyhow::Result<RawDocumentBuf> {
    let patch = patch(&format!("{n:064x}"), &backlog::webhook(kind, n))?;
    let (filter, update) = plain_update(&patch)?;
    Ok(rawdoc! {
        "q": RawDocumentBuf::try_from(&filter)?, "u": RawDocumentBuf::try_from(&update)?, "upsert": true,
    })
}

/// The patch of `webhook`, which has the id `id`.
pub fn patch(id: &str, webhook: &Value) -> anyhow::Result<CallPatch> {
    let signature = Some("absent".to_owned());
    let envelope =
        Envelope { signature, ..Envelope::new(id, Timestamp::now(), Origin::Webhook(Provider::ElevenLabs)) };
    Ok(event::parse(&envelope, webhook.to_string().as_bytes())?.into())
}

fn command(statements: &[RawDocumentBuf]) -> RawDocumentBuf {
    let mut updates = RawArrayBuf::new();
    for statement in statements {
        updates.push(statement.clone());
    }
    rawdoc! {
        "update": "agent_calls", "updates": updates, "ordered": false,
        "writeConcern": { "w": "majority", "j": true },
    }
}
