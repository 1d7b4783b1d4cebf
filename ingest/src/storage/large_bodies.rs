//! Bodies too large for a message: kept in the object store, the message names the object.
//!
//! Invariants: the object is stored before the message that names it is published, so no message is
//! without its body; the name is the webhook's id, so a repetition finds the object there. An object
//! whose message was never published goes with its age.

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
    metrics::{Metrics, PublishLabels},
};

/// Longest one body may take on its way into the store, waiting in line included.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Bodies on their way at a time: each is cut into chunks, which are in flight one after the other.
const PARALLEL: usize = 4;
/// Most bytes of a chunk, which is a message of its own.
const CHUNK: usize = 128 * 1024;
/// Longest one answer of the broker is waited for.
const ANSWER: Duration = Duration::from_secs(5);

/// Stores bodies.
#[derive(Debug)]
pub struct ClaimCheck {
    client: Client,
    context: jetstream::Context,
    turns: Semaphore,
    metrics: Metrics,
}

impl ClaimCheck {
    /// Stores by `client`.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        let context = jetstream::context::ContextBuilder::new().timeout(ANSWER).build(client.clone());
        Self { client, context, turns: Semaphore::new(PARALLEL), metrics }
    }

    /// Stores `body` under the name of its webhook, once; the name.
    pub async fn store(&self, id: WebhookId, body: &Body) -> Result<String, PublishError> {
        let stored = tokio::time::timeout(TIMEOUT, self.try_store(id, body)).await;
        let stored = stored.unwrap_or(Err(PublishError::TimedOut));
        let outcome = stored.as_ref().map_or_else(|error| error.label(), |_| "stored");
        self.metrics.claim_checks.get_or_create(&PublishLabels { outcome }).inc();
        stored
    }

    async fn try_store(&self, id: WebhookId, body: &Body) -> Result<String, PublishError> {
        let _turn = self.turns.acquire().await.expect("never closed");
        if !broker::is_connected(&self.client) {
            return Err(PublishError::Disconnected);
        }
        let name = id.to_string();
        let bucket = self.context.get_object_store(WEBHOOK_BODIES).await.map_err(|error| refused(&error))?;
        if let Ok(found) = bucket.info(&name).await
            && !found.deleted
            && found.size == body.len()
        {
            return Ok(name); // The same bytes: the name is their hash.
        }
        let pieces = body.pieces().iter().cloned().map(Ok::<_, io::Error>);
        let mut reader = StreamReader::new(stream::iter(pieces));
        let chunk_size = Some(CHUNK.min(self.client.max_payload() / 2));
        let metadata = ObjectMetadata { name: name.clone(), chunk_size, ..ObjectMetadata::default() };
        bucket.put(metadata, &mut reader).await.map_err(|error| refused(&error))?;
        Ok(name)
    }
}

fn refused(error: &dyn std::error::Error) -> PublishError {
    tracing::warn!(%error, "a large body was not stored");
    PublishError::BodyNotStored
}
