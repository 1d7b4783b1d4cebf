//! The graveyard: messages that no retry can help, kept with the reason for an operator.
//!
//! The body is unchanged. Buried first, terminated after: a crash in between costs a second burial,
//! which the broker drops for its id, never the message.

use aftercall_common::stream::{header, subject};
use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{self, AckKind},
};

/// Why a message is buried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable label, for filters and metrics.
    pub label: &'static str,
    /// A sentence for the operator, without any part of the body.
    pub detail: String,
}

/// Buries `message` on behalf of `consumer`, then terminates it.
///
/// # Errors
/// It could not be buried and stays as it was: to be tried again later.
pub async fn bury(
    context: &jetstream::Context,
    consumer: &str,
    message: &jetstream::Message,
    cause: &Cause,
) -> Result<(), async_nats::Error> {
    let info = message.info()?;
    let mut headers = message.headers.clone().unwrap_or_default();
    let mut set = |name: &str, value: &str| headers.insert(name, value);
    set(NATS_MESSAGE_ID.as_ref(), &format!("{}:{}:{consumer}", info.stream, info.stream_sequence));
    set(header::DEAD_REASON, cause.label);
    set(header::DEAD_DETAIL, &one_line(&cause.detail));
    set(header::DEAD_ATTEMPTS, &info.delivered.to_string());
    set(header::DEAD_STREAM, info.stream);
    set(header::DEAD_SEQUENCE, &info.stream_sequence.to_string());
    set(header::DEAD_SUBJECT, message.subject.as_str());
    publish(context, consumer, headers, message).await?;
    message.ack_with(AckKind::Term).await
}

async fn publish(
    context: &jetstream::Context,
    consumer: &str,
    headers: HeaderMap,
    message: &jetstream::Message,
) -> Result<(), async_nats::Error> {
    let grave = subject::dead_letter(consumer);
    context.publish_with_headers(grave, headers, message.payload.clone()).await?.await?;
    Ok(())
}

/// Header values are one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
