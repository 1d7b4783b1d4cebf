//! A message of a stream: its body, its headers and its delivery count.

use aftercall_common::contract::streams::{header, subject::WebhookSubject};
use async_nats::{HeaderName, header::NATS_MESSAGE_ID, jetstream};
use bytes::Bytes;
use jiff::Timestamp;

use super::time::timestamp;
use crate::domain::{
    cause::Cause,
    event::{Envelope, Origin},
    reason::Reason,
};

/// A message of `WEBHOOKS` or `TRANSCRIPTS`.
pub trait StreamMessage: Send + Sync + 'static {
    /// The metadata of the webhook, from headers and stream.
    ///
    /// # Errors
    /// The message does not come from a stream.
    fn envelope(&self) -> Result<Envelope, Cause>;

    /// The body. Does not copy it.
    fn payload(&self) -> Bytes;

    /// The name of the object that holds the body, if the message itself does not.
    fn object(&self) -> Option<&str>;

    /// The trace context (`traceparent`).
    fn traceparent(&self) -> Option<&str>;

    /// When the gateway received the webhook. The stream may have stored it later, from the gateway's spool.
    fn received_at(&self) -> Option<Timestamp>;

    /// How often the broker has delivered the message. The broker may forget this number.
    fn delivered(&self) -> i64;
}

fn header(message: &jetstream::Message, name: HeaderName) -> Option<&str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}

impl StreamMessage for jetstream::Message {
    fn envelope(&self) -> Result<Envelope, Cause> {
        let no_stream_message =
            |detail: &str| Cause { reason: Reason::NotAStreamMessage, detail: detail.to_owned() };
        let info = self.info().map_err(|_error| no_stream_message("it carries no stream metadata"))?;
        let stored_at =
            timestamp(info.published).ok_or_else(|| no_stream_message("its time is out of range"))?;
        let origin = origin(&self.subject).ok_or_else(|| Cause {
            reason: Reason::UnknownSubject,
            detail: "no provider's webhooks are published to its subject".to_owned(),
        })?;
        let id = header(self, NATS_MESSAGE_ID).map(str::to_owned);
        Ok(Envelope {
            // Only the gateway and the worker set an id. Other messages are named after their sequence.
            id: id.unwrap_or_else(|| format!("{}:{}", info.stream, info.stream_sequence)),
            stored_at,
            origin,
            signature: header(self, HeaderName::from_static(header::SIGNATURE)).map(str::to_owned),
            received_at: self.received_at(),
            query: header(self, HeaderName::from_static(header::QUERY)).map(str::to_owned),
        })
    }

    fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    fn object(&self) -> Option<&str> {
        header(self, HeaderName::from_static(header::BODY_OBJECT))
    }

    fn traceparent(&self) -> Option<&str> {
        header(self, HeaderName::from_static(header::TRACEPARENT))
    }

    fn received_at(&self) -> Option<Timestamp> {
        header(self, HeaderName::from_static(header::RECEIVED_AT))?.parse().ok()
    }

    fn delivered(&self) -> i64 {
        self.info().map_or(0, |info| info.delivered)
    }
}

/// The origin of the messages on `subject`. `None`: Aftercall publishes no webhooks to this subject.
pub(crate) fn origin(subject: &str) -> Option<Origin> {
    WebhookSubject::parse(subject).map(Origin::from)
}
