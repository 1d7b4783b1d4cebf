//! Publishes the event of a conversation to the stream of webhooks. Workers process it like any webhook.

use std::io::Cursor;

use aftercall_common::contract::streams::{WEBHOOK_BODIES, header, subject};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::object_store::ObjectMetadata};
use jiff::Timestamp;

use crate::{Context, domain::conversation::MissingWebhook};

/// Bytes of headers; the broker counts them against `max_payload`.
const HEADER_BYTES: usize = 4096;

/// Publishes the event of a missing webhook. The broker drops a repeated event by its id, or the worker drops it
/// if the duplicate window of the broker is over.
pub async fn publish(context: &Context, webhook: &MissingWebhook) -> Result<(), async_nats::Error> {
    let id = &webhook.id;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.as_str());
    headers.insert(header::RECEIVED_AT, format!("{:.6}", Timestamp::now()).as_str());
    headers.insert(header::CONTENT_TYPE, "application/json");
    let mut body = webhook.body.to_string().into_bytes();
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
