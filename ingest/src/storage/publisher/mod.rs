//! Publishes webhooks to `JetStream`, with group commit.
//!
//! If the broker syncs before it acknowledges (`sync_interval: always`), each publish costs one fsync. The
//! messages of an atomic batch share one. The [`Committer`] task publishes; [`group_commit`] decides which
//! webhooks are published one by one and which in a batch. A webhook that arrives alone is published at once.
//!
//! Invariants:
//! - `Ok` means that the broker has acknowledged these bytes.
//! - Every request is answered by its deadline; the time in the queue counts.
//! - While the broker is away, nothing is given to the NATS client: the client would keep the message and
//!   deliver it long after the sender was answered 503.
//!
//! A webhook without acknowledgement may still be stored, because the acknowledgement can get lost. The next
//! attempt of its sender has the same id, and the broker or the worker drops the duplicate.

mod batching;
mod committer;
pub mod cost_model;
pub mod group_commit;
mod in_flight;
mod result;
mod waiters;
pub mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::process::broker;
use async_nats::Client;
use tokio::sync::{mpsc, oneshot};

use self::committer::Waiter;
pub use self::{
    committer::Committer,
    result::{PublishError, PublishResult, Stored},
    waiters::PublishRequest,
};
use super::message::Webhook;
use crate::{
    broker::streams::Streams,
    metrics::{DUPLICATE, Metrics, STORED},
};

/// Longest queue for the committer. If the queue is full, a further webhook goes to the spool, or is refused
/// as `overloaded`. `MAX_CONNECTIONS` may be higher: the queue fills only if the broker stores nothing for a
/// while, and the webhooks in a longer queue would reach their deadline there.
const MAX_QUEUED: usize = 8192;

/// Queues webhooks for the [`Committer`].
#[derive(Debug)]
pub struct Publisher {
    client: Client,
    streams: Arc<Streams>,
    queue: mpsc::Sender<PublishRequest<Waiter>>,
    timeout: Duration,
    metrics: Metrics,
}

impl Publisher {
    /// Creates a publisher that answers within `timeout`, and the task that publishes.
    pub fn new(
        client: Client,
        streams: Arc<Streams>,
        timeout: Duration,
        metrics: Metrics,
    ) -> (Self, Committer) {
        let (queue, requests) = mpsc::channel(MAX_QUEUED);
        let committer = Committer::new(client.clone(), streams.clone(), requests, metrics.clone());
        (Self { client, streams, queue, timeout, metrics }, committer)
    }

    /// Largest message that the broker accepts, in bytes, headers included.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Publishes `webhook` and waits for the acknowledgement.
    pub async fn publish(&self, webhook: Arc<Webhook>) -> PublishResult {
        let started = Instant::now();
        let result = self.enqueue(webhook, started + self.timeout).await;
        self.metrics.publish_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.publish(match result {
            Ok(Stored { duplicate: false, .. }) => STORED,
            Ok(Stored { duplicate: true, .. }) => DUPLICATE,
            Err(error) => error.label(),
        });
        result
    }

    /// Whether webhooks can be published now.
    pub fn is_ready(&self) -> Result<(), PublishError> {
        if !broker::is_connected(&self.client) {
            return Err(PublishError::Disconnected);
        }
        if !self.streams.are_ensured() {
            return Err(PublishError::NoStream);
        }
        Ok(())
    }

    async fn enqueue(&self, webhook: Arc<Webhook>, deadline: Instant) -> PublishResult {
        self.is_ready()?;
        let (waiter, result) = oneshot::channel();
        self.queue.try_send(PublishRequest { webhook, deadline, waiter }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PublishError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => PublishError::Stopping,
        })?;
        // The committer answers by the deadline, so no timeout is needed here.
        result.await.unwrap_or(Err(PublishError::Stopping))
    }
}
