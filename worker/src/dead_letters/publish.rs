//! Burying a message.
//!
//! The body is unchanged. Buried first, terminated after: a crash in between costs a second burial,
//! which the broker drops for its id, never the message. Whoever buries terminates.

use aftercall_common::contract::streams::{header, subject};
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};

use crate::domain::cause::Cause;

/// Stores a copy of `message`, which `consumer` gave up, among the dead letters. Only then may it be
/// terminated.
pub async fn bury(
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
    set(header::DEAD_REASON, cause.label);
    set(header::DEAD_DETAIL, &one_line(&cause.detail));
    set(header::DEAD_ATTEMPTS, &info.delivered.to_string());
    set(header::DEAD_STREAM, info.stream);
    set(header::DEAD_SEQUENCE, &info.stream_sequence.to_string());
    set(header::DEAD_SUBJECT, message.subject.as_str());
    let grave = subject::dead_letter(consumer);
    context.publish_with_headers(grave, headers, message.payload.clone()).await?.await?;
    Ok(())
}

/// The headers without the broker's own: those of an atomic batch, kept on the message, would be an
/// order to the stream of dead letters.
fn kept(headers: Option<&HeaderMap>) -> HeaderMap {
    let ours = headers.into_iter().flat_map(HeaderMap::iter).filter(|(name, _)| !is_of_broker(name.as_ref()));
    ours.flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone()))).collect()
}

fn is_of_broker(name: &str) -> bool {
    name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-"))
}

/// Header values are one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
