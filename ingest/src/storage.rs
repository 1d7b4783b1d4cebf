//! Where a webhook is stored: in the stream, its body beside it if it is large; failing that in the spool.
//!
//! Invariant: `Ok` means durably stored, by the broker's word or on our own disk.

pub mod large_bodies;
pub mod message;
pub mod publisher;
pub mod spool;

use std::sync::Arc;

use aftercall_common::contract::streams::header as ours;
use async_nats::HeaderName;

use crate::{
    admission::body::Body,
    broker::streams::Topology,
    storage::{
        large_bodies::ClaimCheck,
        publisher::{PublishError, Publisher, Stored, Webhook},
        spool::Spool,
    },
};

/// Where a webhook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// In the stream.
    Stream(Stored),
    /// In the spool, to be brought to the stream.
    Spool {
        /// Whether it was there already.
        duplicate: bool,
    },
}

/// Stores webhooks.
#[derive(Debug)]
pub struct Storage {
    publisher: Publisher,
    claim_check: ClaimCheck,
    spool: Option<Arc<Spool>>,
    topology: Arc<Topology>,
}

impl Storage {
    /// Stores by these; without a `spool` only while the broker is there. `topology` hears what was acknowledged.
    pub fn new(
        publisher: Publisher,
        claim_check: ClaimCheck,
        spool: Option<Arc<Spool>>,
        topology: Arc<Topology>,
    ) -> Self {
        Self { publisher, claim_check, spool, topology }
    }

    /// Largest body that a message takes beside its headers.
    pub fn room(&self) -> usize {
        self.publisher.max_payload().saturating_sub(message::MAX_HEADER_BYTES)
    }

    /// Whether the broker would be asked at all.
    pub fn can_publish(&self) -> bool {
        self.publisher.is_ready().is_ok()
    }

    /// Stores `webhook`, or says why it is not known to be stored.
    pub async fn store(&self, webhook: Webhook) -> Result<Accepted, PublishError> {
        let webhook = Arc::new(webhook);
        let error = match self.in_stream(&webhook).await {
            Ok(stored) => return Ok(Accepted::Stream(stored)),
            Err(error) => error,
        };
        let Some(spool) = &self.spool else { return Err(error) };
        match spool.store(webhook).await {
            Ok(duplicate) => Ok(Accepted::Spool { duplicate }),
            Err(reason) => {
                tracing::error!(reason = reason.label(), "the spool did not take a webhook either");
                Err(error)
            }
        }
    }

    /// Stores `webhook` in the stream, its body in the object store if no message takes it.
    pub async fn in_stream(&self, webhook: &Arc<Webhook>) -> Result<Stored, PublishError> {
        let outcome = self.publish(webhook).await;
        if let Ok(stored) = outcome {
            self.topology.acknowledged(stored.sequence);
        }
        outcome
    }

    async fn publish(&self, webhook: &Arc<Webhook>) -> Result<Stored, PublishError> {
        let length = webhook.body.len();
        if length <= self.room() {
            return self.publisher.publish(webhook.clone()).await;
        }
        // Boxed: rare, and larger than all the rest, which every request would have to hold.
        let object = Box::pin(self.claim_check.store(webhook.id, &webhook.body)).await?;
        let mut headers = webhook.headers.clone();
        headers.insert(HeaderName::from_static(ours::BODY_OBJECT), object);
        headers.insert(HeaderName::from_static(ours::BODY_BYTES), length.to_string());
        let (subject, id) = (webhook.subject.clone(), webhook.id);
        self.publisher.publish(Arc::new(Webhook { subject, id, headers, body: Body::default() })).await
    }
}
