//! Measures the time until the document of a call is in the database, acknowledged by a majority.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aftercall_local::server::Server;
use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};

use super::{launch, load, measure::Times};

/// Longest wait for one call.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two reads of a call.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The collection of calls in the database of a benchmark.
pub async fn calls(database: &Server) -> anyhow::Result<Collection<Document>> {
    let client = Client::with_uri_str(database.url()).await.context("cannot connect to the database")?;
    Ok(client.database(launch::DATABASE).collection("agent_calls"))
}

/// Waits until the document of the call exists.
pub async fn wait_for(calls: &Collection<Document>, call_id: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    while calls.find_one(doc! { "callId": call_id }).await?.is_none() {
        ensure!(begin.elapsed() < TIMEOUT, "{call_id} has no document after {TIMEOUT:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Calls whose webhooks were posted and whose documents do not exist yet, with the times of the posts.
#[derive(Clone, Debug, Default)]
pub struct Posted(Arc<Mutex<HashMap<String, Instant>>>);

impl Posted {
    /// Records that the webhook with this number is about to be posted.
    pub fn record(&self, number: u64) {
        self.waiting().insert(load::call_id(number), Instant::now());
    }

    /// The time since the post of a call that is there now. `None`: it was not posted, or it was there before.
    pub fn arrived(&self, call_id: &str) -> Option<Duration> {
        self.waiting().remove(call_id).map(|at| at.elapsed())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `load`, and waits until every webhook that it has posted has its document. Returns the result of
/// `load`, and the times from each post to the document.
pub async fn watch<T>(
    calls: &Collection<Document>,
    posted: &Posted,
    load: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Times)> {
    let mut changes = calls.watch().pipeline([doc! { "$match": { "operationType": "insert" } }]).await?;
    let (mut load, mut loaded) = (pin!(load), None);
    let mut times = Times::new()?;
    loop {
        if posted.waiting().is_empty()
            && let Some(loaded) = loaded
        {
            return Ok((loaded, times));
        }
        let change = tokio::select! {
            done = &mut load, if loaded.is_none() => {
                loaded = Some(done?);
                continue;
            }
            change = tokio::time::timeout(TIMEOUT, changes.next()) => {
                change.with_context(|| format!("a call has no document after {TIMEOUT:?}"))?.context("the change stream ended")??
            }
        };
        let document = change.full_document.context("an insert without its document")?;
        if let Some(time) = posted.arrived(document.get_str("callId")?) {
            times.record(time)?;
        }
    }
}
