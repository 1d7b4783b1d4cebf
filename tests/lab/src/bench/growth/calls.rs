//! Cost of an event by the number of stored calls.

use aftercall_local::server::Server;
use anyhow::Context as _;
use async_nats::{Client, jetstream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc, oid::ObjectId},
};

use super::{
    super::{
        backlog::{self, Kind},
        context::Bench,
        launch::{self, Implementation},
        visible,
    },
    series::{Growth, case, rounds},
};

/// Name of the quantity that grows.
pub const NAME: &str = "stored calls";
/// Smallest size.
pub const SMALLEST: u32 = 10_000;
/// Events per measurement, one for each of the latest calls. With 10,000 stored calls, each call gets two.
const EVENTS: usize = 20_000;
/// Multiplier that scatters ids: multiples modulo [`IDS`] visit every number once, out of order.
const SCATTER: usize = 2_654_435_761;
const IDS: usize = 1_000_000_000;
/// Documents per insert.
const CHUNK: usize = 1000;
/// Number of concurrent inserts.
const CONCURRENT_INSERTS: usize = 4;
/// Documents between two progress messages.
const STEP: usize = 50_000;
/// Cache of the database in gigabytes. It holds the indexes; otherwise every event would cost disk accesses.
const CACHE: u32 = 10;

/// Measures events about the latest calls at each size of `wanted`.
pub async fn measure(bench: &Bench, wanted: &[u32]) -> anyhow::Result<Growth> {
    let (mut calls, mut sizes) = (Calls::new(bench).await?, Vec::new());
    for &size in wanted {
        calls.grow(bench, size as usize).await?;
        sizes.push((size, rounds(bench, &case(size, NAME), async || calls.round(bench).await).await?));
    }
    let columns = [("events/s", 0), ("worker CPU us", 1), ("mongod CPU us", 1), ("nats-server CPU us", 1)];
    let title = format!("Growth: {EVENTS} events about the latest calls; median (least-most)");
    Ok(Growth { title, name: NAME, columns, sizes })
}

/// Number in the ids of a call.
fn id(call: usize) -> usize {
    call * SCATTER % IDS
}

/// The stored calls, and their servers.
struct Calls {
    broker: Server,
    database: Server,
    client: Client,
    collection: Collection<Document>,
    /// The document of a call after one event. All stored calls are copies of it.
    template: Document,
    /// Creation time of the template, in milliseconds since 1970.
    created: i64,
    /// Number of stored calls.
    count: usize,
    /// Number of calls that have had an event since the last [`Self::restore`].
    used: usize,
    /// Number of the next event.
    next: usize,
}

impl Calls {
    /// Starts the servers, and lets a worker store one call, the template.
    async fn new(bench: &Bench) -> anyhow::Result<Self> {
        let (broker, database) =
            (launch::broker(bench, true).await?, launch::database_with(bench, Some(CACHE)).await?);
        let client = async_nats::connect(broker.url()).await?;
        backlog::fill(&client, Kind::Whole, 1, 1).await?;
        let mut worker = launch::worker(bench, Implementation::Aftercall, &broker, &database.url()).await?;
        backlog::until(&jetstream::new(client.clone()), 1, |progress| progress.left == 0).await?;
        worker.stop().await?;
        let collection = visible::calls(&database).await?;
        let template = collection.find_one(doc! {}).await?.context("the worker stored no call")?;
        let created = template.get_datetime("createdAt")?.timestamp_millis();
        Ok(Self { broker, database, client, collection, template, created, count: 1, used: 0, next: 2 })
    }

    /// Grows to `size` calls, all equal to the template.
    async fn grow(&mut self, bench: &Bench, size: usize) -> anyhow::Result<()> {
        self.restore().await?;
        for first in (self.count..size).step_by(STEP) {
            bench.progress.step(&format!("growth: storing calls, {first} of {size}"));
            let end = size.min(first + STEP);
            let chunks = (first..end).step_by(CHUNK).map(|first| {
                let copies: Vec<_> = (first..end.min(first + CHUNK)).map(|call| self.copy(call)).collect();
                let collection = self.collection.clone();
                async move { collection.insert_many(copies).ordered(false).await.map(drop) }
            });
            futures_util::stream::iter(chunks)
                .buffer_unordered(CONCURRENT_INSERTS)
                .try_collect::<()>()
                .await?;
        }
        self.count = size;
        Ok(())
    }

    fn copy(&self, call: usize) -> Document {
        let mut copy = self.template.clone();
        copy.insert("_id", ObjectId::new());
        copy.insert("callId", format!("bench_{:09}", id(call)));
        copy.insert("conversationId", format!("conv_{:09}", id(call)));
        // The calls start ten milliseconds apart.
        let created = self.created + i64::try_from(call).unwrap_or(i64::MAX) * 10;
        copy.insert("createdAt", DateTime::from_millis(created));
        copy
    }

    /// Resets every call that has had an event since it was stored, because a longer history makes an event
    /// more expensive.
    async fn restore(&mut self) -> anyhow::Result<()> {
        let ids = doc! {
            "_id": "$_id", "callId": "$callId", "conversationId": "$conversationId", "createdAt": "$createdAt",
        };
        let whole = doc! { "$mergeObjects": [{ "$literal": self.template.clone() }, ids] };
        let changed = doc! { "history.1": { "$exists": true } };
        self.collection.update_many(changed, vec![doc! { "$replaceWith": whole }]).await?;
        self.used = 0;
        Ok(())
    }

    /// Lets a worker process events. Returns events per second, and the processor time per event of worker,
    /// database and broker.
    async fn round(&mut self, bench: &Bench) -> anyhow::Result<[f64; 4]> {
        if self.used + EVENTS > self.count {
            self.restore().await?;
        }
        let (used, next, count) = (self.used, self.next, self.count);
        let events = (0..EVENTS).map(|n| {
            let call = count - 1 - (used + n) % count;
            (next + n, backlog::webhook(Kind::Whole, 5 * id(call) + 2))
        });
        backlog::fill_these(&self.client, events).await?;
        (self.used, self.next) = (used + EVENTS, next + EVENTS);
        // Writes earlier inserts to the disk before the measurement.
        self.collection.client().database("admin").run_command(doc! { "fsync": 1 }).await?;

        let mut worker =
            launch::worker(bench, Implementation::Aftercall, &self.broker, &self.database.url()).await?;
        let pids = [worker.pid(), self.database.process().pid(), self.broker.process().pid()];
        // All earlier events are acknowledged.
        let (rate, cpu) = backlog::drained(self.client.clone(), EVENTS, pids).await?;
        worker.stop().await?;
        let [worker, database, broker] = cpu;
        Ok([rate, worker, database, broker])
    }
}
