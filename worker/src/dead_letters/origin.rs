//! Decides to which subject a dead letter may be sent again, and with which headers. Pure.
//!
//! The headers of a dead letter are not trusted, because each client that may publish to `DEAD_LETTERS`
//! chooses them. A dead letter that names a subject of the broker's own API could purge a stream with the
//! rights of the operator who redrives it.

use aftercall_common::contract::{
    provider::Provider,
    streams::{TRANSCRIPTS, WEBHOOKS, header, subject},
};

/// Headers that say how a message became a dead letter. A redriven message does not carry them.
const DEAD_LETTER_HEADERS: [&str; 8] = [
    header::DEAD_REASON,
    header::DEAD_TYPE,
    header::DEAD_DETAIL,
    header::DEAD_ATTEMPTS,
    header::DEAD_ID,
    header::DEAD_STREAM,
    header::DEAD_SEQUENCE,
    header::DEAD_SUBJECT,
];
/// Prefix of the headers that the gateway sets.
const GATEWAY_PREFIX: &str = "aftercall-";
/// Headers of the sender that the gateway keeps, in addition to the signatures of providers.
const SENDER_HEADERS: [&str; 2] = [header::CONTENT_TYPE, header::TRACEPARENT];
/// Most characters of a foreign stream or subject in an error.
const MAX_NAME_CHARS: usize = 64;

/// The place of a message before it became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The stream.
    pub stream: &'static str,
    /// The subject.
    pub subject: &'static str,
    /// The sequence in the stream.
    pub sequence: u64,
}

/// Why a dead letter must not be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRedrivable {
    /// Its headers name no origin.
    #[error("its headers do not name the stream, the sequence and the subject from which it came")]
    NoOrigin,
    /// Its headers name an origin that no webhook or job has.
    #[error(
        "it says that it came from subject {subject:?} of stream {stream:?}; only webhooks and transcript jobs \
         are sent again"
    )]
    Foreign {
        /// The stream, shortened.
        stream: String,
        /// The subject, shortened.
        subject: String,
    },
}

/// Each stream and subject whose messages can become dead letters.
fn origins() -> impl Iterator<Item = (&'static str, &'static str)> {
    let webhooks = subject::WebhookSubject::all().map(|subject| (WEBHOOKS, subject.as_str()));
    webhooks.chain([(TRANSCRIPTS, subject::TRANSCRIPT_DUE)])
}

/// The origin that the headers of a dead letter name.
///
/// # Errors
/// The headers name no origin, or an origin that no webhook or job has.
pub(crate) fn origin(stream: &str, sequence: &str, subject: &str) -> Result<Origin, NotRedrivable> {
    if stream.is_empty() || subject.is_empty() {
        return Err(NotRedrivable::NoOrigin);
    }
    let known = origins().find(|known| *known == (stream, subject));
    let cut = |text: &str| text.chars().take(MAX_NAME_CHARS).collect();
    let (stream, subject) =
        known.ok_or_else(|| NotRedrivable::Foreign { stream: cut(stream), subject: cut(subject) })?;
    // The sequence becomes part of the id of the redriven message. Without it, different messages would have
    // the same id.
    let sequence = sequence.parse().map_err(|_error| NotRedrivable::NoOrigin)?;
    Ok(Origin { stream, subject, sequence })
}

/// Whether a redriven message keeps the header. It keeps no header of the broker, because the broker would
/// obey it: `Nats-Rollup` or `Nats-Schedule`, for example.
pub(crate) fn is_kept(name: &str) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let of_gateway =
        name.get(..GATEWAY_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(GATEWAY_PREFIX));
    let is_signature = Provider::ALL.iter().any(|provider| is_in(&[provider.signature_header()]));
    (of_gateway && !is_in(&DEAD_LETTER_HEADERS)) || is_in(&SENDER_HEADERS) || is_signature
}

#[cfg(test)]
mod tests;
