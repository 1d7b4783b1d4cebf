//! Creates the broker's streams, keeps their settings correct, and records whether the streams can be used.
//!
//! Invariants:
//! - No webhook is published before the streams were checked once, so an acknowledgement never comes from a stream whose
//!   settings lose messages. With `SPOOL_DIR`, webhooks may be accepted into the spool before.
//! - If a stream ends before a sequence that the broker has acknowledged to this process, the gateway logs and counts a
//!   loss. The cause is a damaged or restored disk, or a broker that does not sync before it acknowledges. A loss that new
//!   messages have refilled before the check is not found.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aftercall_common::{
    contract::streams::{self, EnsureError},
    process::broker,
};
use async_nats::{Client, jetstream};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Interval at which the gateway checks for a reconnect.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Interval at which the start-up checks whether the streams are there.
const START_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// First and longest pause after a failed check.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The streams and their state, shared by all tasks of the gateway.
#[derive(Debug)]
pub struct Streams {
    client: Client,
    replicas: usize,
    metrics: Metrics,
    are_ensured: AtomicBool,
    supports_batches: AtomicBool,
    /// Highest stream sequence that the broker has acknowledged to this gateway.
    last_acknowledged: AtomicU64,
    check_requested: Notify,
    /// The reason why the streams cannot be used, for `/readyz`.
    problem: Mutex<Option<String>>,
}

impl Streams {
    /// Streams that were not checked yet. [`Self::maintain`] checks them.
    pub fn new(client: Client, replicas: usize, metrics: Metrics) -> Self {
        Self {
            client,
            replicas,
            metrics,
            are_ensured: AtomicBool::new(false),
            supports_batches: AtomicBool::new(false),
            last_acknowledged: AtomicU64::new(0),
            check_requested: Notify::new(),
            problem: Mutex::new(Some("not checked yet".to_owned())),
        }
    }

    /// Whether the settings of the streams were correct after at least one check.
    pub fn are_ensured(&self) -> bool {
        self.are_ensured.load(Ordering::Relaxed)
    }

    /// Waits until the streams are ensured, until `timeout` has passed or until `stop`.
    pub async fn wait_until_ensured(&self, timeout: Duration, stop: &CancellationToken) {
        let ensured = async {
            while !self.are_ensured() {
                tokio::time::sleep(START_POLL_INTERVAL).await;
            }
        };
        let _ensured_or_not = tokio::time::timeout(timeout, stop.run_until_cancelled(ensured)).await;
    }

    /// Whether the broker stores atomic batches.
    pub fn supports_batches(&self) -> bool {
        self.supports_batches.load(Ordering::Relaxed)
    }

    /// Whether the connection to the broker is up.
    pub fn is_connected(&self) -> bool {
        broker::is_connected(&self.client)
    }

    /// The reason why the streams cannot be used. `None`: they can be used.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests a check, because a stream seems to be missing.
    pub fn request_check(&self) {
        self.check_requested.notify_one();
    }

    /// Records that the broker has acknowledged a webhook at `sequence`.
    pub fn acknowledged(&self, sequence: u64) {
        self.last_acknowledged.fetch_max(sequence, Ordering::Relaxed);
    }

    /// Checks the streams at the start, after every reconnect and on request, until `stop`.
    ///
    /// # Errors
    /// A stream has settings that lose messages, and this process has not found right ones before. If the settings become
    /// wrong later, the gateway reports itself unready and logs an error, but goes on: stopping would certainly lose
    /// webhooks.
    pub async fn maintain(&self, stop: &CancellationToken) -> Result<(), EnsureError> {
        stop.run_until_cancelled(self.maintain_forever()).await.unwrap_or(Ok(()))
    }

    async fn maintain_forever(&self) -> Result<(), EnsureError> {
        let statistics = self.client.statistics();
        let (mut checked_connection, mut delay) = (None, RETRY_DELAY.0);
        loop {
            let is_connected = self.is_connected();
            self.metrics.connected.set(i64::from(is_connected));
            let connection = statistics.connects.load(Ordering::Relaxed);
            if !is_connected || checked_connection == Some(connection) {
                tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                    () = self.check_requested.notified() => checked_connection = None,
                }
                continue;
            }
            match self.ensure().await {
                Ok(supports_batches) => {
                    self.set_ready(supports_batches);
                    (checked_connection, delay) = (Some(connection), RETRY_DELAY.0);
                }
                Err(error @ EnsureError::UnsafeSetting { .. }) if !self.are_ensured() => return Err(error),
                Err(error) => {
                    let pause = delay.mul_f64(rand::rng().random_range(0.5..=1.0));
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "the streams cannot be used or checked");
                    self.set_problem(Some(error.to_string()));
                    tokio::time::sleep(pause).await;
                    delay = (delay * 2).min(RETRY_DELAY.1);
                }
            }
        }
    }

    /// Creates or corrects the streams. Returns whether the broker stores atomic batches.
    async fn ensure(&self) -> Result<bool, EnsureError> {
        let context = jetstream::new(self.client.clone());
        streams::ensure_streams(&context, self.replicas).await?;
        // Loaded before the stream is read, so that a webhook that is stored in between does not count as
        // lost.
        let acknowledged = self.last_acknowledged.load(Ordering::Relaxed);
        let webhooks = context.get_stream(streams::WEBHOOKS).await.map_err(|error| EnsureError::Broker {
            what: format!("reading stream {}", streams::WEBHOOKS),
            reason: error.to_string(),
        })?;
        let webhooks = webhooks.cached_info();
        self.detect_loss(acknowledged, webhooks.state.last_sequence);
        Ok(webhooks.config.allow_atomic_publish && self.client.is_server_compatible(2, 12, 0))
    }

    fn detect_loss(&self, acknowledged: u64, last_sequence: u64) {
        if last_sequence < acknowledged {
            self.metrics.broker_losses.inc();
            tracing::error!(
                acknowledged,
                last_sequence,
                "the broker has lost webhooks that it had acknowledged: check its disk, and sync_interval"
            );
            // The same loss is not reported again. New messages get the lost sequences.
            self.last_acknowledged.store(last_sequence, Ordering::Relaxed);
        }
    }

    fn set_ready(&self, supports_batches: bool) {
        self.supports_batches.store(supports_batches, Ordering::Relaxed);
        self.are_ensured.store(true, Ordering::Relaxed);
        self.set_problem(None);
        let server = self.client.server_info().version;
        tracing::info!(batches = supports_batches, server, "streams are ready");
    }

    fn set_problem(&self, problem: Option<String>) {
        self.metrics.streams_ready.set(i64::from(problem.is_none()));
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
