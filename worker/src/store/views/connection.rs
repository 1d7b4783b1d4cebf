//! The connections of the console and of the API to MongoDB.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    config::Config,
    metrics::Metrics,
    store::{
        connection::Store,
        error::StoreError,
        export::{ExportFilter, ExportPages},
    },
};

/// Most connections: one for each running query, one for the change stream, and a spare one.
const MAX_CONNECTIONS: u32 = 8;
/// Most queries at the same time.
const MAX_QUERIES: usize = 6;
/// Longest time that a page waits for a slot and for the answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time that the server may work on a query.
pub(super) const SERVER_TIME: Duration = Duration::from_millis(2500);

/// Who reads. The database's own log shows the name of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The console.
    Console,
    /// The API.
    Api,
}

impl Reader {
    fn application(self) -> &'static str {
        match self {
            Self::Console => "aftercall-console",
            Self::Api => "aftercall-api",
        }
    }
}

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
    pub async fn new(config: &Config, metrics: Metrics, reader: Reader) -> anyhow::Result<Self> {
        let store = Store::connect(config, metrics, reader.application(), Some(MAX_CONNECTIONS)).await?;
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

    /// The calls that meet `filter`, the newest first. The pages are read while they are taken, each by a query of
    /// its own that waits for no slot.
    pub fn export(&self, filter: ExportFilter) -> ExportPages {
        self.store.export(filter, None)
    }

    /// Runs a future that must not be dropped before it is done. A stopping process waits for it for a
    /// bounded time.
    pub fn spawn<T: Send + 'static>(
        &self,
        reading: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.store.spawn(reading)
    }

    /// Waits for running operations for a bounded time, and closes the connections.
    pub async fn shutdown(self) {
        self.store.shutdown().await;
    }

    /// Runs one query of a page. The query is boxed, because futures of the driver have many kilobytes, and a page
    /// waits for several of them.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        query: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> + Send {
        self.store.run_in_turn(&self.slots, QUERY_TIMEOUT, Box::pin(query))
    }
}
