//! When a call is in the database, as a majority of it sees it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use hdrhistogram::Histogram;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
    change_stream::{ChangeStream, event::ChangeStreamEvent},
};
use tokio::task::JoinHandle;

use super::{load, stack};
use crate::server::Server;

/// Longest one call is waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks at one call.
const LOOK: Duration = Duration::from_millis(2);

/// The calls of a bench.
pub async fn calls(database: &Server) -> anyhow::Result<Collection<Document>> {
    let client = Client::with_uri_str(database.url()).await.context("cannot connect to the database")?;
    Ok(client.database(stack::DATABASE).collection("agent_calls"))
}

/// Waits until the call is there.
pub async fn until(calls: &Collection<Document>, call_id: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    while calls.find_one(doc! { "callId": call_id }).await?.is_none() {
        ensure!(begin.elapsed() < PATIENCE, "{call_id} is not there after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Calls whose webhooks were posted, and when; and how long those took that have come out since.
#[derive(Clone, Debug, Default)]
pub struct Posted(Arc<Mutex<HashMap<String, Instant>>>);

impl Posted {
    /// The webhook with this number is about to be posted.
    pub fn now(&self, number: u64) {
        self.waiting().insert(load::call_id(number), Instant::now());
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes when new calls come into the database.
pub struct Watch {
    posted: Posted,
    /// Microseconds from the post.
    task: JoinHandle<anyhow::Result<Histogram<u64>>>,
    ended: tokio::sync::watch::Sender<bool>,
}

impl Watch {
    /// Begins to watch for calls of `posted`.
    pub async fn begin(calls: &Collection<Document>, posted: Posted) -> anyhow::Result<Self> {
        let stream = calls.watch().pipeline([doc! { "$match": { "operationType": "insert" } }]).await?;
        let (ended, told) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(follow(stream, posted.clone(), told));
        Ok(Self { posted, task, ended })
    }

    /// Waits for the calls that are still to come; the microseconds that all took.
    pub async fn end(self) -> anyhow::Result<Histogram<u64>> {
        let begin = Instant::now();
        while !self.posted.waiting().is_empty() {
            ensure!(begin.elapsed() < PATIENCE, "a call never came into the database");
            tokio::time::sleep(LOOK).await;
        }
        self.ended.send_replace(true);
        self.task.await.context("the watch failed")?
    }
}

async fn follow(
    mut stream: ChangeStream<ChangeStreamEvent<Document>>,
    posted: Posted,
    mut ended: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    loop {
        let next = tokio::select! {
            next = stream.next() => next.context("the change stream ended")??,
            _ = ended.changed() => return Ok(histogram),
        };
        let document = next.full_document.context("an insert without its document")?;
        if let Some(at) = posted.waiting().remove(document.get_str("callId")?) {
            histogram.record(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX))?;
        }
    }
}
