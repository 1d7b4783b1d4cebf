//! Bodies that are too large for a message. They are stored in the object store, and the message names the
//! object (the claim check pattern).
//!
//! Invariants:
//! - The object is stored before the message that names it, so no message lacks its body.
//! - The name of the object is the id of the webhook, so a repeated webhook finds the object.
//! - An object whose message was never published is deleted when it reaches the maximum age of the object
//!   store.

use std::{io, time::Duration};

use aftercall_common::{contract::streams::WEBHOOK_BODIES, process::broker};
use async_nats::{
    Client,
    jetstream::{self, object_store::ObjectMetadata},
};
use futures_util::stream;
use tokio::sync::Semaphore;
use tokio_util::io::StreamReader;

use super::{message::WebhookId, publisher::PublishError};
use crate::{
    admission::body::Body,
    metrics::{Metrics, PublishLabels, STORED},
};

/// Longest time to store one body, including the wait for other bodies, without the time for its bytes.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);
/// Least rate at which the broker stores a body, in bytes per second.
const MIN_STORE_RATE: u64 = 8 * 1024 * 1024;
/// Maximum number of bodies that are stored at the same time. The chunks of one body are sent one after the
/// other.
const MAX_CONCURRENT: usize = 4;
/// Most bytes of a chunk. Each chunk is a message.
const MAX_CHUNK_BYTES: usize = 128 * 1024;
/// Longest wait for one answer of the broker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Stores large bodies in the broker's object store.
#[derive(Debug)]
pub struct LargeBodies {
    client: Client,
    context: jetstream::Context,
    slots: Semaphore,
    metrics: Metrics,
}

impl LargeBodies {
    /// Stores bodies through `client`.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        let context = jetstream::context::ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client.clone());
        Self { client, context, slots: Semaphore::new(MAX_CONCURRENT), metrics }
    }

    /// Stores the `body` of the webhook `id`, unless it is stored already. Returns the name of the object.
    pub async fn store(&self, id: WebhookId, body: &Body) -> Result<String, PublishError> {
        let timeout = STORE_TIMEOUT + Duration::from_millis(body.len() as u64 * 1000 / MIN_STORE_RATE);
        let stored = tokio::time::timeout(timeout, self.try_store(id, body)).await;
        let stored = stored.unwrap_or(Err(PublishError::TimedOut));
        let outcome = stored.as_ref().map_or_else(|error| error.label(), |_| STORED);
        self.metrics.claim_checks.get_or_create(&PublishLabels { outcome }).inc();
        stored
    }

    async fn try_store(&self, id: WebhookId, body: &Body) -> Result<String, PublishError> {
        let _slot = self.slots.acquire().await.expect("never closed");
        if !broker::is_connected(&self.client) {
            return Err(PublishError::Disconnected);
        }
        let name = id.to_string();
        let bucket = self.context.get_object_store(WEBHOOK_BODIES).await.map_err(|error| refused(&error))?;
        if let Ok(found) = bucket.info(&name).await
            && !found.deleted
            && found.size == body.len()
        {
            return Ok(name); // It holds the same bytes, because the name is their hash.
        }
        let pieces = body.pieces().iter().cloned().map(Ok::<_, io::Error>);
        let mut reader = StreamReader::new(stream::iter(pieces));
        let chunk_size = Some(MAX_CHUNK_BYTES.min(self.client.max_payload() / 2));
        let metadata = ObjectMetadata { name: name.clone(), chunk_size, ..ObjectMetadata::default() };
        bucket.put(metadata, &mut reader).await.map_err(|error| refused(&error))?;
        Ok(name)
    }
}

fn refused(error: &dyn std::error::Error) -> PublishError {
    tracing::warn!(%error, "a large body could not be stored in the object store {WEBHOOK_BODIES}");
    PublishError::BodyNotStored
}
