//! The connections of the console to MongoDB.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{bson::doc, options::Hint};
use tokio::sync::Semaphore;

use super::{filter::reason_index, row::MAX_TEXT};
use crate::{
    config::Config,
    metrics::Metrics,
    store::{connection::Store, error::StoreError},
};

/// Most connections: one for each running query, one for the change stream, and a spare one.
const MAX_CONNECTIONS: u32 = 8;
/// Most queries at the same time.
const MAX_QUERIES: usize = 6;
/// Longest time that a page waits for a slot and for the answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time that the server may work on a query.
pub(super) const SERVER_TIME: Duration = Duration::from_millis(2500);
/// Most reasons that are offered for filtering.
const MAX_OFFERED_REASONS: i64 = 500;

/// Read access to calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Views {
    pub(super) store: Store,
    /// Slots for queries.
    slots: Arc<Semaphore>,
    /// Admits one large file at a time.
    pub(super) large_files: Arc<Semaphore>,
}

impl Views {
    /// Prepares the connections. The driver connects at the first query.
    ///
    /// # Errors
    /// `MONGODB_URI` cannot be read.
    pub async fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Self> {
        let store = Store::connect(config, metrics, "aftercall-console", Some(MAX_CONNECTIONS)).await?;
        Ok(Self {
            store,
            slots: Arc::new(Semaphore::new(MAX_QUERIES)),
            large_files: Arc::new(Semaphore::new(1)),
        })
    }

    /// Checks that the database answers within a second.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    /// The approximate number of calls.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let calls = self.store.calls.clone();
        self.ask(async move { calls.estimated_document_count().max_time(SERVER_TIME).await }).await
    }

    /// The reasons for which calls failed, in alphabetical order.
    pub async fn reasons(&self) -> Result<Vec<String>, StoreError> {
        let calls = self.store.calls.clone();
        let found: Vec<_> = self
            .ask(async move {
                let stages = [
                    doc! { "$match": { "failureReason": { "$gt": "" } } },
                    doc! { "$sort": { "failureReason": 1 } },
                    doc! { "$group": { "_id": "$failureReason" } },
                    doc! { "$limit": MAX_OFFERED_REASONS },
                    // A filter compares whole reasons. A longer reason would be cut and would match nothing,
                    // so it is not offered.
                    doc! { "$match": { "$expr": { "$lte": [{ "$strLenCP": "$_id" }, MAX_TEXT] } } },
                ];
                let cursor = calls.aggregate(stages).hint(Hint::Keys(reason_index())).max_time(SERVER_TIME);
                cursor.await?.try_collect::<Vec<_>>().await
            })
            .await?;
        let mut reasons: Vec<_> =
            found.iter().filter_map(|group| group.get_str("_id").ok().map(str::to_owned)).collect();
        reasons.sort_unstable();
        Ok(reasons)
    }

    /// Runs a future that must not be dropped before it is done. A stopping process waits for it for a
    /// bounded time.
    pub fn spawn<T: Send + 'static>(
        &self,
        reading: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.store.operations.spawn(reading)
    }

    /// Waits for running operations for a bounded time, and closes the connections.
    pub async fn shutdown(self) {
        self.store.shutdown().await;
    }

    /// Runs one query of a page.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        query: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = async {
            let slot = self.slots.clone().acquire_owned().await;
            // The slot is held until the server answers, even after the timeout: so the number of queries at
            // a hanging database stays bounded.
            let query = async move {
                let _slot = slot;
                query.await
            };
            self.store.run(query).await
        };
        let late = |_elapsed| Err(StoreError::Unavailable("no answer in time".to_owned()));
        tokio::time::timeout(QUERY_TIMEOUT, asked).await.unwrap_or_else(late)
    }
}
