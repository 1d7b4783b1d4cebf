//! Messages that are posted to endpoints: events of the stream `CALLS`, webhooks of the stream `WEBHOOKS`.

use aftercall_common::contract::{
    provider::Provider,
    streams::{header, subject::WebhookSubject},
};
use async_nats::{
    HeaderMap, HeaderName,
    header::NATS_MESSAGE_ID,
    jetstream::{self, message::StreamMessage, stream::RawMessageErrorKind},
};
use bytes::Bytes;
use serde_json::Value;

use super::delivery_jobs::{DeliveryJob, MessageStream};
use crate::domain::delivery::{EventType, Kind};

/// Longest message id that is used as it is, in bytes.
const MAX_ID: usize = 256;

/// A message with what a request needs of it.
#[derive(Clone, Debug)]
pub struct OutgoingMessage {
    /// The stream that holds it.
    pub stream: MessageStream,
    /// Its sequence there.
    pub sequence: u64,
    /// Its id, in characters that a header can carry.
    pub id: String,
    /// What it says.
    pub content: Content,
    /// Its body. Empty if an object holds it.
    pub body: Bytes,
    /// The object that holds the body, if the message does not.
    pub object: Option<String>,
}

/// The content of a message.
#[derive(Clone, Debug)]
pub enum Content {
    /// An event about a call.
    Event {
        /// Its type.
        event: EventType,
        /// The call, as the event says it.
        data: Value,
    },
    /// A webhook of a provider.
    Webhook {
        /// The provider.
        provider: Provider,
        /// The headers of the webhook that belong to its body: content type and signature.
        headers: Vec<(&'static str, String)>,
    },
}

/// Why a message is not posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// This version does not know its type. A worker of a later version may.
    UnknownType(String),
    /// No endpoint gets it.
    Internal,
}

impl OutgoingMessage {
    /// Reads a message.
    fn read(
        stream: MessageStream,
        sequence: u64,
        subject: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, Unsendable> {
        let header =
            |name: &'static str| Some(headers.get(HeaderName::from_static(name))?.as_str().to_owned());
        let content = match stream {
            MessageStream::Calls => {
                let mut body: Value =
                    serde_json::from_slice(&body).map_err(|_no_json| Unsendable::Internal)?;
                let unknown =
                    || Unsendable::UnknownType(body["type"].as_str().unwrap_or_default().to_owned());
                let event = EventType::of_subject(subject).ok_or_else(unknown)?;
                Content::Event { event, data: body["data"].take() }
            }
            MessageStream::Webhooks => {
                let Some(WebhookSubject::Received(provider)) = WebhookSubject::parse(subject) else {
                    return Err(Unsendable::Internal);
                };
                // An operator has changed the body, so the signature does not belong to it.
                if header(header::SIGNATURE).as_deref() == Some("edited") {
                    return Err(Unsendable::Internal);
                }
                let kept = [header::CONTENT_TYPE, provider.signature_header()];
                let headers = kept.into_iter().filter_map(|name| Some((name, header(name)?)));
                Content::Webhook { provider, headers: headers.collect() }
            }
        };
        let id = headers.get(NATS_MESSAGE_ID).map(async_nats::HeaderValue::as_str).filter(|id| is_usable(id));
        let id = id.map_or_else(|| format!("{}:{sequence}", stream.as_str()), str::to_owned);
        Ok(Self { stream, sequence, id, content, body, object: header(header::BODY_OBJECT) })
    }

    /// Reads a message that a consumer of `stream` received.
    ///
    /// # Errors
    /// The message is not posted.
    pub fn received(stream: MessageStream, message: &jetstream::Message) -> Result<Self, Unsendable> {
        let sequence = message.info().map_err(|_no_info| Unsendable::Internal)?.stream_sequence;
        let headers = message.headers.clone().unwrap_or_default();
        Self::read(stream, sequence, &message.subject, &headers, message.payload.clone())
    }

    /// A message for a test of an endpoint of this kind. It is in no stream.
    pub fn test(kind: Kind, id: String, body: Bytes) -> Self {
        let (stream, content) = match kind {
            Kind::Events => {
                (MessageStream::Calls, Content::Event { event: EventType::Status, data: Value::Null })
            }
            Kind::Raw => {
                let headers = vec![(header::CONTENT_TYPE, "application/json".to_owned())];
                (MessageStream::Webhooks, Content::Webhook { provider: Provider::ElevenLabs, headers })
            }
        };
        Self { stream, sequence: 0, id, content, body, object: None }
    }

    /// Reads the message of `job` from its stream. `None`: the message is not there any more.
    ///
    /// # Errors
    /// The broker does not answer, or a later version has made the job.
    pub async fn fetch(
        context: &jetstream::Context,
        job: &DeliveryJob,
    ) -> Result<Option<Self>, async_nats::Error> {
        let stream = context.get_stream_no_info(job.stream.as_str()).await?;
        // The leader is asked, because a replica that lags does not know the latest messages.
        let message: StreamMessage = match stream.get_raw_message(job.sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let StreamMessage { subject, headers, payload, sequence, .. } = message;
        match Self::read(job.stream, sequence, &subject, &headers, payload) {
            Err(Unsendable::UnknownType(_)) => Err("this version does not know the type of the event".into()),
            found => Ok(found.ok().filter(|found| found.id == job.message_id)),
        }
    }

    /// The type of the event, or the provider of the webhook.
    pub fn type_name(&self) -> &'static str {
        match &self.content {
            Content::Event { event, .. } => event.as_str(),
            Content::Webhook { provider, .. } => provider.word(),
        }
    }

    /// The text in a field of the call.
    pub fn data_text(&self, field: &str) -> Option<String> {
        match &self.content {
            Content::Event { data, .. } => data[field].as_str().map(str::to_owned),
            Content::Webhook { .. } => None,
        }
    }
}

/// Whether a message id can be a header, and an argument of a command.
fn is_usable(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        stream: MessageStream,
        subject: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Result<OutgoingMessage, Unsendable> {
        let headers =
            headers.iter().map(|&(name, value)| (HeaderName::from_static(name), value.into())).collect();
        OutgoingMessage::read(stream, 7, subject, &headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn events_and_webhooks_of_providers_are_read() {
        let id = ("Nats-Msg-Id", "m");
        let event = r#"{"type":"call.status","data":{"callId":"c"}}"#;
        let event = read(MessageStream::Calls, "calls.status", &[id], event).unwrap();
        assert_eq!((event.id.as_str(), event.type_name()), ("m", "call.status"));
        assert_eq!(event.data_text("callId").as_deref(), Some("c"));

        let subject = Provider::ElevenLabs.subject();
        let headers =
            [id, ("Content-Type", "a/b"), ("ElevenLabs-Signature", "t=1"), ("Aftercall-Source-Ip", "1")];
        let webhook = read(MessageStream::Webhooks, subject, &headers, "{}").unwrap();
        let Content::Webhook { headers, .. } = &webhook.content else { panic!("a webhook") };
        assert_eq!(
            *headers,
            [("Content-Type", "a/b".to_owned()), ("ElevenLabs-Signature", "t=1".to_owned())]
        );
    }

    #[test]
    fn other_messages_reach_no_endpoint() {
        let unsendable =
            |stream, subject, headers: &[_], body| read(stream, subject, headers, body).unwrap_err();
        let edited = [("Aftercall-Signature", "edited")];
        let unknown = Unsendable::UnknownType("call.other".to_owned());
        let body = r#"{"type":"call.other"}"#;
        assert_eq!(unsendable(MessageStream::Calls, "calls.other", &[], body), unknown);
        for (stream, subject, headers, body) in [
            (MessageStream::Calls, "calls.status", &[][..], "no JSON"),
            (MessageStream::Webhooks, "webhooks.elevenlabs.reconciled", &[], "{}"),
            (MessageStream::Webhooks, Provider::Twilio.subject(), &edited, "a=b"),
        ] {
            assert_eq!(unsendable(stream, subject, headers, body), Unsendable::Internal, "{subject}");
        }
    }

    #[test]
    fn a_message_without_a_usable_id_is_named_after_its_sequence() {
        for id in ["", "a b", "ä", &"x".repeat(300)] {
            let message = read(MessageStream::Calls, "calls.status", &[("Nats-Msg-Id", id)], "{}").unwrap();
            assert_eq!(message.id, "CALLS:7", "{id}");
        }
    }
}
