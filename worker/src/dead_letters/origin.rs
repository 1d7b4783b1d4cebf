//! Where a dead letter may be sent again, and with which headers. Pure.
//!
//! The headers of a dead letter are not trusted, because each client that may publish to `DEAD_LETTERS`
//! chooses them. A dead letter that names a subject of the broker's own API could purge a stream with the
//! rights of the operator who redrives it.

use aftercall_common::contract::streams::{TRANSCRIPTS, WEBHOOKS, header, subject};

/// Each stream and subject whose messages can become dead letters.
const ORIGINS: [(&str, &str); 4] = [
    (WEBHOOKS, subject::ELEVENLABS_CALL_STATUS),
    (WEBHOOKS, subject::TWILIO_CALL_STATUS),
    (WEBHOOKS, subject::RECONCILED),
    (TRANSCRIPTS, subject::TRANSCRIPT_DUE),
];
/// Headers that say how a message became a dead letter. A redriven message does not carry them.
const DEAD_LETTER_HEADERS: [&str; 7] = [
    header::DEAD_REASON,
    header::DEAD_DETAIL,
    header::DEAD_ATTEMPTS,
    header::DEAD_ID,
    header::DEAD_STREAM,
    header::DEAD_SEQUENCE,
    header::DEAD_SUBJECT,
];
/// Prefix of the headers that the gateway sets.
const GATEWAY_PREFIX: &str = "aftercall-";
/// Headers of the sender that the gateway keeps.
const SENDER_HEADERS: [&str; 4] =
    [header::CONTENT_TYPE, header::ELEVENLABS_SIGNATURE, header::TWILIO_SIGNATURE, header::TRACEPARENT];
/// Most characters of a foreign stream or subject in an error.
const MAX_NAME_CHARS: usize = 64;

/// Where a message was before it became a dead letter.
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
    #[error("it does not say where it came from")]
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

/// The origin that the headers of a dead letter name.
///
/// # Errors
/// They name none, or one that no webhook or job has.
pub(crate) fn origin(stream: &str, sequence: &str, subject: &str) -> Result<Origin, NotRedrivable> {
    if stream.is_empty() || subject.is_empty() {
        return Err(NotRedrivable::NoOrigin);
    }
    let known = ORIGINS.into_iter().find(|known| *known == (stream, subject));
    let cut = |text: &str| text.chars().take(MAX_NAME_CHARS).collect();
    let (stream, subject) =
        known.ok_or_else(|| NotRedrivable::Foreign { stream: cut(stream), subject: cut(subject) })?;
    // The sequence becomes part of the id of the redriven message. Without it, different messages had the
    // same id.
    let sequence = sequence.parse().map_err(|_error| NotRedrivable::NoOrigin)?;
    Ok(Origin { stream, subject, sequence })
}

/// Whether a redriven message keeps the header. It keeps no header of the broker, because the broker would
/// obey it: `Nats-Rollup` or `Nats-Schedule`, for example.
pub(crate) fn is_kept(name: &str) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let of_gateway =
        name.get(..GATEWAY_PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(GATEWAY_PREFIX));
    (of_gateway && !is_in(&DEAD_LETTER_HEADERS)) || is_in(&SENDER_HEADERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_redriven_only_to_subjects_of_webhooks_and_jobs() {
        let foreign = |stream: &str, subject: &str| {
            Err(NotRedrivable::Foreign { stream: stream.to_owned(), subject: subject.to_owned() })
        };
        let known = |stream, subject| Ok(Origin { stream, subject, sequence: 7 });
        #[rustfmt::skip]
        let table = [
            ("WEBHOOKS",     "7",  "webhooks.elevenlabs.call-status",  known(WEBHOOKS, subject::ELEVENLABS_CALL_STATUS)),
            ("WEBHOOKS",     "7",  "webhooks.twilio.call-status",      known(WEBHOOKS, subject::TWILIO_CALL_STATUS)),
            ("WEBHOOKS",     "7",  "webhooks.elevenlabs.reconciled",   known(WEBHOOKS, subject::RECONCILED)),
            ("TRANSCRIPTS",  "7",  "transcripts.due",                  known(TRANSCRIPTS, subject::TRANSCRIPT_DUE)),
            ("WEBHOOKS",     "7",  "$JS.API.STREAM.PURGE.WEBHOOKS",    foreign("WEBHOOKS", "$JS.API.STREAM.PURGE.WEBHOOKS")),
            ("WEBHOOKS",     "7",  "agent-calls.place",                foreign("WEBHOOKS", "agent-calls.place")),
            ("WEBHOOKS",     "7",  "dead-letters.status",              foreign("WEBHOOKS", "dead-letters.status")),
            ("WEBHOOKS",     "7",  "webhooks.other",                   foreign("WEBHOOKS", "webhooks.other")),
            ("WEBHOOKS",     "7",  "webhooks.twilio.call-status.x",    foreign("WEBHOOKS", "webhooks.twilio.call-status.x")),
            ("WEBHOOKS",     "7",  "transcripts.due",                  foreign("WEBHOOKS", "transcripts.due")),
            ("TRANSCRIPTS",  "7",  "transcripts.later.conv_1",         foreign("TRANSCRIPTS", "transcripts.later.conv_1")),
            ("DEAD_LETTERS", "7",  "webhooks.twilio.call-status",      foreign("DEAD_LETTERS", "webhooks.twilio.call-status")),
            ("",             "7",  "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
            ("WEBHOOKS",     "7",  "",                                 Err(NotRedrivable::NoOrigin)),
            ("WEBHOOKS",     "",   "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
            ("WEBHOOKS",     "-1", "webhooks.twilio.call-status",      Err(NotRedrivable::NoOrigin)),
        ];
        for (stream, sequence, subject, expected) in table {
            assert_eq!(origin(stream, sequence, subject), expected, "{stream} {sequence} {subject}");
        }
        let Err(long) = origin("WEBHOOKS", "1", &"x\n".repeat(500)) else { panic!("it is foreign") };
        let shown = long.to_string();
        assert!(shown.len() < 300 && !shown.contains('\n'), "short, and one line: {shown}");
    }

    #[test]
    fn a_redriven_message_keeps_only_headers_of_gateway_and_sender() {
        #[rustfmt::skip]
        let table = [
            (header::RECEIVED_AT,          true),
            (header::SIGNATURE,            true),
            (header::BODY_OBJECT,          true),
            ("aftercall-query",            true),
            (header::CONTENT_TYPE,         true),
            (header::ELEVENLABS_SIGNATURE, true),
            (header::TRACEPARENT,          true),
            (header::DEAD_REASON,          false),
            (header::DEAD_SUBJECT,         false),
            ("aftercall-origin-subject",   false),
            (header::SCHEDULE,             false),
            (header::SCHEDULE_TARGET,      false),
            ("nats-rollup",                false),
            ("Nats-Expected-Stream",       false),
            ("Nats-TTL",                   false),
            ("Authorization",              false),
            ("",                           false),
        ];
        for (name, kept) in table {
            assert_eq!(is_kept(name), kept, "{name}");
        }
    }
}
