//! What the console reads of calls, and never writes.
//!
//! It has connections of its own, few and bounded in time, so that looking never holds up work: a
//! question waits for its turn, then for its answer, and is given up after a moment.

mod audio;
mod detail;
mod figures;
mod filter;
mod list;
mod row;
mod watch;

use std::{sync::Arc, time::Duration};

use mongodb::{bson::doc, options::Hint};
use tokio::sync::Semaphore;

pub(super) use self::filter::{number_index, reason_index, status_index, time_index};
pub(super) use self::row::beginning;
pub use self::{
    audio::{AudioFile, Chunks},
    detail::{Detail, RAW_FIELDS, TURNS_A_PAGE},
    figures::{Bucket, Figures, Window},
    filter::{Cursor, Filter, MAX_REASONS, Search},
    list::{Direction, Listed, PAGE},
    row::CallRow,
    watch::{Change, Changes},
};
use super::{Store, StoreError};
use crate::{config::Config, metrics::Metrics};

/// Connections of the console: questions under way, the change stream, and one to spare.
const POOL: u32 = 8;
/// Questions asked at a time.
const QUESTIONS: usize = 6;
/// Longest a page waits for an answer, its turn included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest the server works on a page's question.
const SERVER_TIME: Duration = Duration::from_millis(2500);
/// Most reasons offered for filtering.
const MOST_KNOWN_REASONS: i64 = 500;

/// Read access to calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Views {
    store: Store,
    turns: Arc<Semaphore>,
    large_files: Arc<Semaphore>,
}

impl Views {
    /// Prepares the connections.
    ///
    /// # Errors
    /// A URI that cannot be read.
    pub async fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Self> {
        let store = Store::connect(config, metrics, "aftercall-console", Some(POOL)).await?;
        Ok(Self {
            store,
            turns: Arc::new(Semaphore::new(QUESTIONS)),
            large_files: Arc::new(Semaphore::new(1)),
        })
    }

    /// Whether the database answers within a moment.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    /// Calls there are, about.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let calls = self.store.calls.clone();
        self.ask(async move { calls.estimated_document_count().max_time(SERVER_TIME).await }).await
    }

    /// The reasons for which calls have failed, in their order.
    pub async fn reasons(&self) -> Result<Vec<String>, StoreError> {
        use futures_util::TryStreamExt as _;
        let calls = self.store.calls.clone();
        let found: Vec<_> = self
            .ask(async move {
                let stages = [
                    doc! { "$match": { "failureReason": { "$gt": "" } } },
                    doc! { "$sort": { "failureReason": 1 } },
                    doc! { "$group": { "_id": "$failureReason" } },
                    doc! { "$limit": MOST_KNOWN_REASONS },
                    // A reason is filtered by as a whole, so one that is too long for that is not offered.
                    doc! { "$match": { "$expr": { "$lte": [{ "$strLenCP": "$_id" }, row::MAX_TEXT] } } },
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

    /// Runs what must not be dropped half-way; waited for, within a bound, as the process stops.
    pub fn spawn<T: Send + 'static>(
        &self,
        reading: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.store.operations.spawn(reading)
    }

    /// Waits for operations under way, within a bound, and closes the connections.
    pub async fn shutdown(self) {
        self.store.shutdown().await;
    }

    /// Asks one question of a page.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = async {
            let turn = self.turns.clone().acquire_owned().await;
            // Held until the server has answered, not until the page has lost its patience: what is
            // under way at a database that hangs stays bounded.
            let question = async move {
                let _turn = turn;
                question.await
            };
            self.store.run(question).await
        };
        let late = |_elapsed| Err(StoreError::Unavailable("no answer in time".to_owned()));
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(late)
    }
}
