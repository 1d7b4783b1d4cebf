//! Stores webhooks: in the broker's stream, or else in the spool on the gateway's own disk.
//!
//! Invariant: `Ok` means that the broker has acknowledged the webhook, or that the spool has it on disk.

pub mod large_bodies;
pub mod message;
pub mod publisher;
mod recent_ids;
pub mod spool;

use std::sync::Arc;

use aftercall_common::contract::streams::header as names;
use async_nats::HeaderName;

use crate::{
    admission::body::Body,
    broker::streams::Streams,
    config::SpoolMode,
    storage::{
        large_bodies::LargeBodies,
        message::Webhook,
        publisher::{PublishError, PublishResult, Publisher, Stored},
        spool::{Spool, SpoolError},
    },
};

/// Where a webhook was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// In the stream.
    Stream(Stored),
    /// In the spool. The replay publishes it.
    Spool {
        /// Whether the spool already had the webhook.
        duplicate: bool,
        /// Whether the spool was tried before the broker or after it.
        mode: SpoolMode,
    },
}

/// Stores webhooks.
#[derive(Debug)]
pub struct Storage {
    publisher: Publisher,
    large_bodies: LargeBodies,
    spool: Option<Arc<Spool>>,
    streams: Arc<Streams>,
}

impl Storage {
    /// Without a `spool`, webhooks are stored only while the broker is available. `streams` is told of each sequence that
    /// the broker acknowledges.
    pub fn new(
        publisher: Publisher,
        large_bodies: LargeBodies,
        spool: Option<Arc<Spool>>,
        streams: Arc<Streams>,
    ) -> Self {
        Self { publisher, large_bodies, spool, streams }
    }

    /// Largest body, in bytes, that fits into a message with its headers.
    pub fn max_message_body(&self) -> usize {
        self.publisher.max_payload().saturating_sub(message::MAX_HEADER_BYTES)
    }

    /// Whether the broker can store webhooks now.
    pub fn can_publish(&self) -> bool {
        self.publisher.is_ready().is_ok()
    }

    /// Stores `webhook` in the stream or in the spool. The mode of the spool says which one is tried first. The other one
    /// is tried if the first one fails.
    pub async fn store(&self, webhook: Webhook) -> Result<Accepted, PublishError> {
        let webhook = Arc::new(webhook);
        let first = self.spool.as_ref().filter(|spool| spool.comes_first());
        if let Some(spool) = first
            && let Ok(accepted) = Self::store_in_spool(spool, webhook.clone()).await
        {
            return Ok(accepted);
        }
        let error = match self.store_in_stream(&webhook).await {
            Ok(stored) => return Ok(Accepted::Stream(stored)),
            Err(error) => error,
        };
        let Some(spool) = &self.spool else { return Err(error) };
        Self::store_in_spool(spool, webhook).await.map_err(|reason| {
            let (broker, spool) = (error.label(), reason.label());
            tracing::error!(broker, spool, "neither the broker nor the spool has stored a webhook");
            error
        })
    }

    async fn store_in_spool(spool: &Spool, webhook: Arc<Webhook>) -> Result<Accepted, SpoolError> {
        let duplicate = spool.store(webhook).await?;
        Ok(Accepted::Spool { duplicate, mode: spool.mode() })
    }

    /// Stores `webhook` in the stream. A body that is too large for a message goes to the object store.
    pub async fn store_in_stream(&self, webhook: &Arc<Webhook>) -> PublishResult {
        let result = self.publish(webhook).await;
        if let Ok(stored) = result {
            self.streams.acknowledged(stored.sequence);
        }
        result
    }

    async fn publish(&self, webhook: &Arc<Webhook>) -> PublishResult {
        let length = webhook.body.len();
        if length <= self.max_message_body() {
            return self.publisher.publish(webhook.clone()).await;
        }
        // Boxed, because large bodies are rare and this future is large. Without the box, the future of every
        // request would be as large.
        let object = Box::pin(self.large_bodies.store(webhook.id, &webhook.body)).await?;
        let mut headers = webhook.headers.clone();
        headers.insert(HeaderName::from_static(names::BODY_OBJECT), object);
        headers.insert(HeaderName::from_static(names::BODY_BYTES), length.to_string());
        let (subject, id) = (webhook.subject.clone(), webhook.id);
        self.publisher.publish(Arc::new(Webhook { subject, id, headers, body: Body::default() })).await
    }
}
