//! Durable storage of webhooks: group commit into `JetStream`.
//!
//! Under `sync_interval: always` the price of a publish is one fsync, which an atomic batch shares.
//! So one task (`committer`) does what one core (`commits`) decides: which webhooks go singly, which
//! together. A webhook alone is published alone; an idle gateway adds no delay.
//!
//! Invariants: `Ok` means the broker has acknowledged these bytes. Every webhook is answered by
//! its deadline, waiting in line included. Nothing is handed to the client library while the broker
//! is away, for it would keep the bytes and deliver them long after the sender was told 503.
//!
//! A webhook that was not acknowledged may still be stored (the answer got lost). The sender's next
//! try has the same id and collapses, here or in the worker.

pub mod commits;
mod committer;
pub mod cost_model;
mod recent_ids;
mod waiters;
pub mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::process::broker;
use async_nats::{Client, HeaderMap, Subject};
use tokio::sync::{mpsc, oneshot};

pub use self::committer::Committer;
use self::{commits::Entry, committer::Waiter};
use super::message::WebhookId;
use crate::{admission::body::Body, broker::streams::Topology, metrics::Metrics};

/// Webhooks that may wait for the commit in flight. More than connections by default, so that in
/// practice connections and the byte budget are the bounds.
const QUEUE: usize = 8192;

/// A webhook to store.
#[derive(Debug)]
pub struct Webhook {
    /// Where it goes.
    pub subject: Subject,
    /// Its id, which is also in the headers.
    pub id: WebhookId,
    /// The headers of its message.
    pub headers: HeaderMap,
    /// Its bytes, in one piece; none where they are in the object store.
    pub body: Body,
}

/// Where a webhook is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Whether it was there already, so that nothing was added.
    pub duplicate: bool,
}

/// Why a webhook is not known to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Too many wait already.
    QueueFull,
    /// The broker cannot be reached. Nothing was sent.
    Disconnected,
    /// The streams have not been checked yet, or are gone.
    NoStream,
    /// Its time passed in line. Nothing was sent.
    Expired,
    /// The broker did not answer in time.
    TimedOut,
    /// The connection broke before the answer came.
    ConnectionLost,
    /// The broker refused, by this error code of `JetStream` (10077: the stream is full).
    Refused(u64),
    /// The body is too large for a message, and the object store did not take it.
    BodyNotStored,
    /// The broker answered something that is not an acknowledgement.
    Garbled,
    /// The gateway is stopping.
    Stopping,
}

impl PublishError {
    /// Stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Disconnected => "disconnected",
            Self::NoStream => "no_stream",
            Self::Expired => "expired",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::Refused(_) => "refused",
            Self::BodyNotStored => "body_not_stored",
            Self::Garbled => "garbled",
            Self::Stopping => "stopping",
        }
    }
}

/// Hands webhooks to the commit task.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    topology: Arc<Topology>,
    queue: mpsc::Sender<Entry<Waiter>>,
    timeout: Duration,
    metrics: Metrics,
}

impl Publisher {
    /// A publisher that answers within `timeout`, and the task that does its work.
    pub fn new(
        client: Client,
        topology: Arc<Topology>,
        timeout: Duration,
        metrics: Metrics,
    ) -> (Self, Committer) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let committer = Committer::new(client.clone(), topology.clone(), waiting, metrics.clone());
        (Self { client, topology, queue, timeout, metrics }, committer)
    }

    /// Largest message, headers included, that the broker takes.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Stores `webhook`, or says why it is not known to be stored.
    pub async fn publish(&self, webhook: Arc<Webhook>) -> Result<Stored, PublishError> {
        let started = Instant::now();
        let outcome = self.enqueue(webhook, started + self.timeout).await;
        self.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.publish(match outcome {
            Ok(Stored { duplicate: false, .. }) => "stored",
            Ok(Stored { duplicate: true, .. }) => "duplicate",
            Err(error) => error.label(),
        });
        outcome
    }

    /// Whether the broker can be asked right now.
    pub fn is_ready(&self) -> Result<(), PublishError> {
        if !broker::is_connected(&self.client) {
            return Err(PublishError::Disconnected);
        }
        if !self.topology.is_ensured() {
            return Err(PublishError::NoStream);
        }
        Ok(())
    }

    async fn enqueue(&self, webhook: Arc<Webhook>, deadline: Instant) -> Result<Stored, PublishError> {
        self.is_ready()?;
        let (waiter, outcome) = oneshot::channel();
        self.queue.try_send(Entry { webhook, deadline, waiter }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => PublishError::Stopping,
        })?;
        // The commit task keeps the deadline.
        outcome.await.unwrap_or(Err(PublishError::Stopping))
    }
}
