//! Keeps the broker's streams as they must be, and knows whether they are.
//!
//! Invariants: nothing is accepted before the streams were checked once, so a 200 never stands on
//! a stream that loses messages. A broker that comes back with less than it had acknowledged is told of: its
//! disk was set back or damaged, or it does not sync before it acknowledges.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aftercall_common::{
    contract::streams::{self, EnsureError},
    process::{
        admin::{Parts, Readiness, State},
        broker,
    },
};
use async_nats::{Client, jetstream};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, storage::spool::Spool};

/// How often the state of the connection is looked at.
const WATCH: Duration = Duration::from_millis(200);
/// How often a start looks whether the streams are there.
const SETTLE: Duration = Duration::from_millis(10);
/// First and longest pause after a failed try.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The state of the streams.
#[derive(Debug)]
pub struct Topology {
    client: Client,
    replicas: usize,
    metrics: Metrics,
    ensured: AtomicBool,
    batches: AtomicBool,
    /// Highest sequence that was acknowledged to us.
    acknowledged: AtomicU64,
    doubted: Notify,
    /// What is wrong, for whoever asks `/readyz`.
    problem: Mutex<Option<String>>,
}

impl Topology {
    /// Nothing is known yet; [`Self::keep`] finds out.
    pub fn new(client: Client, replicas: usize, metrics: Metrics) -> Self {
        Self {
            client,
            replicas,
            metrics,
            ensured: AtomicBool::new(false),
            batches: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            doubted: Notify::new(),
            problem: Mutex::new(Some("not checked yet".to_owned())),
        }
    }

    /// Whether the streams were found or made right at least once.
    pub fn is_ensured(&self) -> bool {
        self.ensured.load(Ordering::Relaxed)
    }

    /// Waits until webhooks can be stored, at most `longest`; not at all where they can be stored elsewhere.
    pub async fn settled(&self, longest: Duration, elsewhere: bool, stop: &CancellationToken) {
        let ensured = async {
            while !(elsewhere || self.is_ensured()) {
                tokio::time::sleep(SETTLE).await;
            }
        };
        let _settled_or_not = tokio::time::timeout(longest, stop.run_until_cancelled(ensured)).await;
    }

    /// Whether the broker stores atomic batches.
    pub fn takes_batches(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
    }

    /// Tells that a stream seems to be gone, to have it looked at soon.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Tells that the broker has acknowledged a webhook at `sequence`.
    pub fn acknowledged(&self, sequence: u64) {
        self.acknowledged.fetch_max(sequence, Ordering::Relaxed);
    }

    /// Compares what the broker has with what it had acknowledged before it was asked.
    fn compare(&self, acknowledged: u64, last_sequence: u64) {
        if last_sequence < acknowledged {
            self.metrics.broker_losses.inc();
            tracing::error!(
                acknowledged,
                last_sequence,
                "the broker has lost webhooks that it had acknowledged: check its disk, and sync_interval"
            );
            // Told once. What it stores from here on has these sequences anew.
            self.acknowledged.store(last_sequence, Ordering::Relaxed);
        }
    }

    /// Ensures the streams at the start, after every reconnect and whenever in doubt, until `stop`.
    ///
    /// # Errors
    /// A stream, found before any webhook was accepted, that loses messages. Later such a stream
    /// makes the gateway unready and its log loud, but stopping then would lose webhooks for sure.
    pub async fn keep(&self, stop: &CancellationToken) -> Result<(), EnsureError> {
        stop.run_until_cancelled(self.watch()).await.unwrap_or(Ok(()))
    }

    async fn watch(&self) -> Result<(), EnsureError> {
        let statistics = self.client.statistics();
        let (mut checked, mut pause) = (None, RETRY.0);
        loop {
            let connected = broker::is_connected(&self.client);
            self.metrics.connected.set(i64::from(connected));
            let connection = statistics.connects.load(Ordering::Relaxed);
            if !connected || checked == Some(connection) {
                tokio::select! {
                    () = tokio::time::sleep(WATCH) => {}
                    () = self.doubted.notified() => checked = None,
                }
                continue;
            }
            match self.ensure().await {
                Ok(batches) => {
                    self.batches.store(batches, Ordering::Relaxed);
                    self.ensured.store(true, Ordering::Relaxed);
                    self.set_problem(None);
                    tracing::info!(batches, server = self.client.server_info().version, "streams are ready");
                    (checked, pause) = (Some(connection), RETRY.0);
                }
                Err(error @ EnsureError::Contradiction { .. }) if !self.is_ensured() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "streams are not as they must be");
                    self.set_problem(Some(error.to_string()));
                    let jitter = rand::rng().random_range(0.5..=1.0);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Makes the streams right; true when the broker takes atomic batches.
    async fn ensure(&self) -> Result<bool, EnsureError> {
        let context = jetstream::new(self.client.clone());
        streams::ensure_streams(&context, self.replicas).await?;
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let found = context.get_stream(streams::WEBHOOKS).await.map_err(|error| EnsureError::Broker {
            what: format!("reading stream {}", streams::WEBHOOKS),
            reason: error.to_string(),
        })?;
        let found = found.cached_info();
        self.compare(acknowledged, found.state.last_sequence);
        Ok(found.config.allow_atomic_publish && self.client.is_server_compatible(2, 12, 0))
    }

    fn set_problem(&self, problem: Option<String>) {
        self.metrics.streams_ready.set(i64::from(problem.is_none()));
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn parts(&self, spool: Option<&Spool>, stop: &CancellationToken) -> Parts {
        // As long as the spool takes what the broker cannot, webhooks must keep coming here.
        let broker = match spool {
            Some(spool) if !spool.is_full() => State::Degraded,
            _ => State::Unready,
        };
        let connected = broker::is_connected(&self.client);
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stopping = stop.is_cancelled().then(|| State::Unready("stopping".to_owned()));
        let mut parts = vec![
            ("listener", stopping.unwrap_or(State::Ready)),
            ("nats", if connected { State::Ready } else { broker("not connected".to_owned()) }),
            ("stream", problem.map_or(State::Ready, broker)),
        ];
        if let Some(spool) = spool {
            let full = spool.is_full().then(|| State::Degraded("full".to_owned()));
            parts.push(("spool", full.unwrap_or(State::Ready)));
        }
        parts
    }

    /// What `/readyz` shows: the listener until `stop`, the connection, the streams, the spool.
    pub fn readiness(self: &Arc<Self>, spool: Option<Arc<Spool>>, stop: CancellationToken) -> Readiness {
        let topology = self.clone();
        Arc::new(move || {
            let parts = topology.parts(spool.as_deref(), &stop);
            Box::pin(std::future::ready(parts))
        })
    }
}
