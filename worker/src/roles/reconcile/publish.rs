//! Publishes the event of a conversation to the stream of webhooks. Workers process it like any webhook.

use std::io::Cursor;

use aftercall_common::contract::streams::{WEBHOOK_BODIES, header, subject};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::object_store::ObjectMetadata};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Context,
    domain::{conversation::event_id, event::ConversationId},
};

/// Bytes of headers; the broker counts them against `max_payload`.
const HEADER_BYTES: usize = 4096;

/// Publishes an event with this body. Its id is derived from the conversation. So the broker drops a repeated event, or the
/// worker drops it if the duplicate window of the broker is over.
pub async fn publish(
    context: &Context,
    conversation: &ConversationId,
    body: &Value,
) -> Result<(), async_nats::Error> {
    let id = event_id(conversation);
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.as_str());
    headers.insert(header::RECEIVED_AT, format!("{:.6}", Timestamp::now()).as_str());
    headers.insert(header::CONTENT_TYPE, "application/json");
    let mut body = body.to_string().into_bytes();
    if body.len() + HEADER_BYTES > context.nats.max_payload() {
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
