//! The headers of stream messages. The message id is in [`async_nats::header::NATS_MESSAGE_ID`].

use super::provider::Provider;

/// When the gateway received the webhook, RFC 3339.
pub const RECEIVED_AT: &str = "Aftercall-Received-At";
/// The address of the sender. Behind trusted proxies, the address for which they forwarded the request.
pub const SOURCE_IP: &str = "Aftercall-Source-Ip";
/// Result of the signature check: `verified`, `absent` or `token`; under `SOURCE_POLICY=observe` also
/// `missing`, `invalid` or `expired`; `edited` on a dead letter that an operator changed and sent again.
pub const SIGNATURE: &str = "Aftercall-Signature";
/// Under `SOURCE_POLICY=observe`: the code with which `enforce` would have refused the webhook.
pub const WOULD_REFUSE: &str = "Aftercall-Would-Refuse";
/// The content type that the sender declared.
pub const CONTENT_TYPE: &str = "Content-Type";
/// The signature of ElevenLabs, kept for audits.
pub const ELEVENLABS_SIGNATURE: &str = Provider::ElevenLabs.signature_header();
/// The query of the URL that Twilio posted a form to. Operators put parameters of their own there.
pub const QUERY: &str = "Aftercall-Query";
/// The object in [`WEBHOOK_BODIES`](super::streams::WEBHOOK_BODIES) that holds the body. The body of the
/// message itself is then empty.
pub const BODY_OBJECT: &str = "Aftercall-Body-Object";
/// The length of that object, in bytes.
pub const BODY_BYTES: &str = "Aftercall-Body-Bytes";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";

/// Why the message is a dead letter: a stable label.
pub const DEAD_REASON: &str = "Aftercall-Reason";
/// Details of the reason, for the operator. They contain at most two parts of the body: an event type, which
/// is cut short, and names of fields.
pub const DEAD_DETAIL: &str = "Aftercall-Detail";
/// The event type that the body names, if it is a short word. People see dead letters grouped by it.
pub const DEAD_TYPE: &str = "Aftercall-Event-Type";
/// The number of times that the broker delivered the message before the consumer gave up.
pub const DEAD_ATTEMPTS: &str = "Aftercall-Attempts";
/// The message id in the stream that the dead letter came from.
pub const DEAD_ID: &str = "Aftercall-Origin-Id";
/// The stream that the dead letter came from.
pub const DEAD_STREAM: &str = "Aftercall-Origin-Stream";
/// The sequence number in that stream.
pub const DEAD_SEQUENCE: &str = "Aftercall-Origin-Sequence";
/// The subject in that stream.
pub const DEAD_SUBJECT: &str = "Aftercall-Origin-Subject";

/// When the broker publishes this message to [`SCHEDULE_TARGET`] (NATS ADR-51).
pub const SCHEDULE: &str = "Nats-Schedule";
/// The subject that the broker publishes a scheduled message to.
pub const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
