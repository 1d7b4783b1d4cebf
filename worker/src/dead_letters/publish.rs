//! Publishes a message to the stream `DEAD_LETTERS`.
//!
//! The body is unchanged. The caller terminates the message afterwards. After a crash between these two
//! steps, the message is published again, and the broker drops the second copy because of its id.

use aftercall_common::contract::streams::{header, subject};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};

use super::event_type::event_type;
use crate::domain::cause::Cause;

/// Stores a copy of `message` in `DEAD_LETTERS`, because `consumer` cannot process it.
///
/// # Errors
/// The broker has not confirmed the copy, so the message must not be terminated.
pub async fn publish(
    context: &jetstream::Context,
    consumer: &str,
    message: &jetstream::Message,
    cause: &Cause,
) -> Result<(), async_nats::Error> {
    let info = message.info()?;
    let mut headers = kept(message.headers.as_ref());
    let mut set = |name: &str, value: &str| headers.insert(name, value);
    set(NATS_MESSAGE_ID.as_ref(), &format!("{}:{}:{consumer}", info.stream, info.stream_sequence));
    if let Some(id) = message.headers.as_ref().and_then(|headers| headers.get(NATS_MESSAGE_ID)) {
        set(header::DEAD_ID, id.as_str());
    }
    set(header::DEAD_REASON, cause.reason.label());
    if let Some(event_type) = event_type(&message.payload) {
        set(header::DEAD_TYPE, &event_type);
    }
    set(header::DEAD_DETAIL, &one_line(&cause.detail));
    set(header::DEAD_ATTEMPTS, &info.delivered.to_string());
    set(header::DEAD_STREAM, info.stream);
    set(header::DEAD_SEQUENCE, &info.stream_sequence.to_string());
    set(header::DEAD_SUBJECT, message.subject.as_str());
    let subject = subject::dead_letter(consumer);
    context.publish_with_headers(subject, headers, message.payload.clone()).await?.await?;
    Ok(())
}

/// The headers without the headers of the broker, because the broker would obey them again. Headers of an
/// atomic batch, for example, would begin a batch in `DEAD_LETTERS`.
fn kept(headers: Option<&HeaderMap>) -> HeaderMap {
    let kept = headers.into_iter().flat_map(HeaderMap::iter).filter(|(name, _)| !is_of_broker(name.as_ref()));
    kept.flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone()))).collect()
}

fn is_of_broker(name: &str) -> bool {
    name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-"))
}

/// Makes `text` one line, as header values must be.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
