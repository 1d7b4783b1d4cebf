//! When a call is in the database, as a majority of it sees it.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};

use super::{load, measure::Times, stack};
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

/// Calls whose webhooks were posted and that are not in the database yet, and since when.
#[derive(Clone, Debug, Default)]
pub struct Posted(Arc<Mutex<HashMap<String, Instant>>>);

impl Posted {
    /// The webhook with this number is about to be posted.
    pub fn now(&self, number: u64) {
        self.waiting().insert(load::call_id(number), Instant::now());
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries out `load` and waits until all that it has posted is in the database. What it gives, and how long
/// it was from each post to the call.
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
            change = tokio::time::timeout(PATIENCE, changes.next()) => {
                change.context("a call never came into the database")?.context("the change stream ended")??
            }
        };
        let document = change.full_document.context("an insert without its document")?;
        if let Some(at) = posted.waiting().remove(document.get_str("callId")?) {
            times.record(at.elapsed())?;
        }
    }
}
