//! Puts what was made up into the stream of webhooks, where the ordinary path takes it.

use std::io::Cursor;

use aftercall_common::contract::streams::{WEBHOOK_BODIES, header, subject};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::object_store::ObjectMetadata};
use jiff::Timestamp;

use super::policy::Synthetic;
use crate::{Context, domain::event::ConversationId};

/// Room for headers beside a body.
const HEADERS: usize = 4096;

/// Publishes `event`, once: the id says what it is about, so a repetition collapses in the broker and,
/// after that has forgotten, in the worker.
pub(super) async fn publish(
    context: &Context,
    conversation: &ConversationId,
    event: &Synthetic,
) -> Result<(), async_nats::Error> {
    let id = format!("reconciled:{}:{}", conversation.as_str(), event.kind);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.as_str());
    headers.insert(header::RECEIVED_AT, format!("{:.6}", Timestamp::now()).as_str());
    headers.insert(header::CONTENT_TYPE, "application/json");
    let mut body = event.body.to_string().into_bytes();
    if body.len() + HEADERS > context.nats.max_payload() {
        let object = id.replace(':', "-");
        let bucket = context.jetstream.get_object_store(WEBHOOK_BODIES).await?;
        headers.insert(header::BODY_OBJECT, object.as_str());
        headers.insert(header::BODY_BYTES, body.len().to_string().as_str());
        let metadata = ObjectMetadata { name: object, ..ObjectMetadata::default() };
        bucket.put(metadata, &mut Cursor::new(std::mem::take(&mut body))).await?;
    }
    context.jetstream.publish_with_headers(subject::RECONCILED, headers, body.into()).await?.await?;
    Ok(())
}
