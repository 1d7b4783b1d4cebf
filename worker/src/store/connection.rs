//! The connection to MongoDB: its options, its readiness, and the deadline of each operation.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
    options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{error::StoreError, indexes};
use crate::{config::Config, metrics::Metrics};

/// The collection of calls.
pub(super) const COLLECTION: &str = "agent_calls";
/// The collection with the ids of erased calls. It holds nothing else of them.
pub(super) const ERASED: &str = "erased_calls";
/// Longest time that the driver looks for a primary.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the driver checks its servers. Only such a check shows the driver that a server is back.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Longest time that the server may work on one operation.
pub(super) const SERVER_TIME: Duration = Duration::from_secs(15);
/// Longest time that the worker waits for one operation: longer than [`SERVER_TIME`], because the
/// network may be slow.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time that a stopping process waits for running operations.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// A database that takes longer to answer a ping is not ready.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The store of calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) client: Client,
    pub(super) database: Database,
    pub(super) calls: Collection<Document>,
    /// Running operations: see [`Store::run`].
    pub(super) operations: TaskTracker,
    /// Admits one ping at a time.
    ping: Arc<Semaphore>,
    /// How long calls are kept. `None`: for ever.
    retention: Option<Duration>,
    metrics: Metrics,
}

impl Store {
    /// Prepares the connection. The driver connects at the first operation.
    ///
    /// # Errors
    /// `MONGODB_URI` cannot be read.
    pub async fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Self> {
        Self::connect(config, metrics, "aftercall-worker", None).await
    }

    /// Like [`Self::new`], but with the application name `name` and at most `pool` connections to each
    /// server.
    pub(super) async fn connect(
        config: &Config,
        metrics: Metrics,
        name: &str,
        pool: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut options =
            ClientOptions::parse(config.mongodb_uri.expose()).await.context("MONGODB_URI cannot be used")?;
        options.app_name.get_or_insert_with(|| name.to_owned());
        if pool.is_some() {
            options.max_pool_size = pool;
        }
        options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
        options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
        options.heartbeat_freq.get_or_insert(HEARTBEAT_INTERVAL);
        // A message is acknowledged after these writes, so a URI must not weaken them.
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = Client::with_options(options).context("MONGODB_URI cannot be used")?;
        let database = client.database(&config.mongodb_database);
        let calls = database.collection(COLLECTION);
        Ok(Self {
            client,
            database,
            calls,
            operations: TaskTracker::new(),
            ping: Arc::new(Semaphore::new(1)),
            retention: config.retention(),
            metrics,
        })
    }

    /// Creates the indexes, and checks that the server is a replica set. A standalone server has no
    /// transactions, and the merge of two documents of a call needs them.
    ///
    /// # Errors
    /// [`StoreError::Standalone`], or the database is unavailable.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let hello = self.run({
            let database = self.database.clone();
            async move { database.run_command(doc! { "hello": 1 }).await }
        });
        let hello = hello.await?;
        if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") {
            return Err(StoreError::Standalone);
        }
        self.run(indexes::create(self.calls.clone())).await?;
        self.prepare_deliveries().await?;
        self.prepare_audit().await?;
        self.prepare_notes().await?;
        self.run(indexes::retain(self.calls.clone(), self.retention)).await?;
        self.run(indexes::retain_erased(self.database.collection(ERASED))).await
    }

    /// Checks that the database answers within a second. Only one check runs at a time, and the others wait for their turn.
    ///
    /// # Errors
    /// The database does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let database = self.database.clone();
        let ping = async move { database.run_command(doc! { "ping": 1 }).await.map(drop) };
        self.run_in_turn(&self.ping, PING_TIMEOUT, ping).await
    }

    /// Waits for running operations, for a bounded time, and closes the connections.
    pub async fn shutdown(self) {
        self.operations.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.operations.wait()).await.is_err() {
            tracing::warn!(
                operations = self.operations.len(),
                "operations of MongoDB did not end within {SHUTDOWN_TIMEOUT:?}; the worker stops without waiting for them"
            );
        }
        // The driver may wait for a server that does not answer. The process must end anyway.
        let closed = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.client.shutdown().immediate(true)).await;
        if closed.is_err() {
            tracing::debug!("connections to MongoDB were not closed in time");
        }
    }

    /// Runs a future that must not be dropped before it is done. A stopping process waits for it for a
    /// bounded time.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.operations.spawn(future)
    }

    /// Runs one operation with a deadline.
    ///
    /// A future of the driver must not be dropped before it is done (RUST-937). So a late operation goes on
    /// in a task of its own, and the caller learns that its result is unknown.
    ///
    /// # Errors
    /// The operation failed, or did not end in time. Then it may still take effect.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_within(OPERATION_TIMEOUT, operation).await
    }

    /// [`Self::run`] with a deadline for the wait for a slot and the operation together. The slot is held until the server
    /// answers, even after the deadline, so the number of operations at a hanging database stays bounded.
    pub(super) async fn run_in_turn<T: Send + 'static>(
        &self,
        slots: &Arc<Semaphore>,
        deadline: Duration,
        operation: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let slot = tokio::time::timeout(deadline, slots.clone().acquire_owned()).await;
        let slot = slot.map_err(|_elapsed| StoreError::Unavailable("no answer in time".to_owned()))?;
        let operation = async move {
            let _slot = slot;
            operation.await
        };
        self.run_within(deadline.saturating_sub(started.elapsed()), operation).await
    }

    /// [`Self::run`] with another deadline.
    pub(super) async fn run_within<T: Send + 'static>(
        &self,
        deadline: Duration,
        operation: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let done = match tokio::time::timeout(deadline, self.operations.spawn(operation)).await {
            Ok(Ok(done)) => done.map_err(StoreError::from),
            Ok(Err(_panicked)) => Err(StoreError::Unavailable("operation panicked".to_owned())),
            Err(_elapsed) => Err(StoreError::Unavailable("no answer in time".to_owned())),
        };
        self.metrics
            .store_operation(done.as_ref().map_or_else(StoreError::label, |_| "ok"), started.elapsed());
        done
    }
}
