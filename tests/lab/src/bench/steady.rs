//! Gateway and worker between a lone webhook and a backlog: processor time for each webhook of a call that is
//! stored already, and the time from its post to the change of its document.

use std::{collections::HashMap, pin::pin, time::Duration};

use aftercall_local::server::Server;
use anyhow::Context as _;
use async_nats::jetstream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Collection,
    bson::{Document, doc, oid::ObjectId},
};
use serde_json::json;

use super::{
    backlog,
    context::Bench,
    launch::{self, Gateway, Implementation},
    load,
    measure::{self, Series, Times},
    table::{Row, Table},
    visible::{self, Posted},
    worker,
};

/// Webhooks per second.
const RATES: [u32; 3] = [100, 1000, 3000];
/// Connections of the webhooks.
const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest wait for the next change.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Processor time of worker, broker and database for each webhook, then latency.
type Figures = [Series; 6];

/// Measures every rate.
pub(super) async fn run(bench: &Bench) -> anyhow::Result<Table> {
    let mut rows = Vec::new();
    for (case, rate) in RATES.map(|rate| (format!("{rate} a second"), rate)) {
        if !case.contains(&bench.only) {
            continue;
        }
        let mut figures = Figures::default();
        for round in 1..=bench.rounds {
            bench.progress.step(&format!("steady: {case}, round {round} of {}", bench.rounds));
            measure(bench, rate, &mut figures).await.with_context(|| case.clone())?;
        }
        rows.push(Row { case, figures: figures.into() });
    }
    let columns = [
        ("worker CPU us", 0),
        ("nats-server CPU us", 0),
        ("mongod CPU us", 0),
        ("together us", 0),
        ("document p50 ms", 2),
        ("document p99 ms", 2),
    ];
    let title =
        "A steady flow of webhooks of stored calls: sync always, w: majority, j: true; median (least-most)";
    Ok(Table::new(title, &columns, rows))
}

/// Measures one rate with new servers.
async fn measure(bench: &Bench, rate: u32, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut broker, mut database) = (launch::broker(bench, true).await?, launch::database(bench).await?);
    let gateway = launch::gateway(bench, Implementation::Aftercall, &broker).await?;
    let seconds = (WARM_UP + 2 * bench.time).as_secs() + 1;
    let calls = store_calls(&database, seconds * u64::from(rate)).await?;
    let worker = launch::worker(bench, Implementation::Aftercall, &broker, &database.url()).await?;
    let paced = |time| load::paced(gateway.address, CONNECTIONS, rate, time, |_| ());
    paced(WARM_UP).await?;
    let context = jetstream::new(async_nats::connect(broker.url()).await?);
    let all_applied = || backlog::until(&context, 0, |progress| progress.left == 0);
    all_applied().await?;

    let pids = [worker.pid(), broker.process().pid(), database.process().pid()];
    let cpu = || pids.into_iter().map(measure::cpu_seconds).collect::<anyhow::Result<Vec<_>>>();
    let before = cpu()?;
    let webhooks = paced(bench.time).await?.count();
    all_applied().await?;
    let used: Vec<_> =
        cpu()?.iter().zip(before).map(|(after, before)| (after - before) * 1e6 / webhooks).collect();

    let times = watched(bench, &visible::calls(&database).await?, &calls, &gateway, rate).await?;
    let together = used.iter().sum();
    for (series, value) in
        figures.iter_mut().zip(used.into_iter().chain([together, times.ms(0.5), times.ms(0.99)]))
    {
        series.push(value);
    }
    Ok(())
}

/// Stores the calls of the next `count` webhooks. Returns the call ids by the ids of the documents.
async fn store_calls(database: &Server, count: u64) -> anyhow::Result<HashMap<ObjectId, String>> {
    let mut patches = Vec::new();
    for number in load::upcoming(count) {
        let webhook = json!({ "event_type": "call.initiated", "call_id": load::call_id(number) });
        patches.push(worker::patch(&format!("before{number}"), &webhook)?);
    }
    worker::insert(&patches, database).await?;
    let documents = visible::calls(database).await?.find(doc! {}).projection(doc! { "callId": 1 }).await?;
    let ids =
        |call: Document| Some((call.get_object_id("_id").ok()?, call.get_str("callId").ok()?.to_owned()));
    Ok(documents.try_filter_map(async |call| Ok(ids(call))).try_collect().await?)
}

/// The times from the posts of webhooks to the changes of their documents.
async fn watched(
    bench: &Bench,
    collection: &Collection<Document>,
    calls: &HashMap<ObjectId, String>,
    gateway: &Gateway,
    rate: u32,
) -> anyhow::Result<Times> {
    let stages =
        [doc! { "$match": { "operationType": "update" } }, doc! { "$project": { "documentKey": 1 } }];
    let mut changes = collection.watch().pipeline(stages).await?.with_type::<Document>();
    let posted = Posted::default();
    let post = posted.clone();
    let (mut times, mut answered) = (Times::new()?, None);
    let mut load =
        pin!(load::paced(gateway.address, CONNECTIONS, rate, bench.time, move |number| post.record(number)));
    while answered.is_none_or(|answered| times.count() < answered) {
        tokio::select! {
            answers = &mut load, if answered.is_none() => answered = Some(answers?.count()),
            change = tokio::time::timeout(TIMEOUT, changes.next()) => {
                let change = change.context("no change")?.context("the change stream ended")??;
                let id = change.get_document("documentKey")?.get_object_id("_id")?;
                let call_id = calls.get(&id).context("a change of another call")?;
                times.record(posted.arrived(call_id).context("a second change of a call")?)?;
            }
        }
    }
    Ok(times)
}
