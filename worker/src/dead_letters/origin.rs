//! Where a dead letter may be sent again, and with which headers. Pure.
//!
//! Whoever may publish to `DEAD_LETTERS` chooses the headers of a letter. None of them is trusted: a letter whose
//! subject is of the broker's own API would purge a stream with the rights of the operator who sends it again.

use aftercall_common::contract::{
    provider::Provider,
    streams::{TRANSCRIPTS, WEBHOOKS, header, subject},
};

/// Headers that say how a message became a dead letter. They end with the letter.
const OF_LETTER: [&str; 7] = [
    header::DEAD_REASON,
    header::DEAD_DETAIL,
    header::DEAD_ATTEMPTS,
    header::DEAD_ID,
    header::DEAD_STREAM,
    header::DEAD_SEQUENCE,
    header::DEAD_SUBJECT,
];
/// Prefix of the headers that the gateway writes.
const OURS: &str = "aftercall-";
/// Headers of the sender that the gateway keeps, besides the signatures of providers.
const OF_SENDER: [&str; 2] = [header::CONTENT_TYPE, header::TRACEPARENT];
/// Most characters of a foreign subject that are repeated in an error.
const MAX_SHOWN: usize = 64;

/// Where a message was before it became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its stream.
    pub stream: &'static str,
    /// Its subject.
    pub subject: &'static str,
    /// Its place in the stream.
    pub sequence: u64,
}

/// Why a letter is not sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// Its headers do not say where it came from.
    #[error("it does not say where it came from")]
    NoOrigin,
    /// Its headers name a place that no message of ours comes from.
    #[error(
        "it says that it came from subject {subject:?} of stream {stream:?}; only webhooks and transcript jobs \
         are sent again"
    )]
    Foreign {
        /// The stream, cut.
        stream: String,
        /// The subject, cut.
        subject: String,
    },
}

/// Every stream and subject whose messages can become dead letters.
fn origins() -> impl Iterator<Item = (&'static str, &'static str)> {
    let webhooks = subject::WebhookSubject::all().map(|subject| (WEBHOOKS, subject.as_str()));
    webhooks.chain([(TRANSCRIPTS, subject::TRANSCRIPT_DUE)])
}

/// The origin that the headers of a letter name.
///
/// # Errors
/// They name none, or one that is not ours.
pub(crate) fn origin(stream: &str, sequence: &str, subject: &str) -> Result<Origin, Unsendable> {
    if stream.is_empty() || subject.is_empty() {
        return Err(Unsendable::NoOrigin);
    }
    let known = origins().find(|known| *known == (stream, subject));
    let cut = |text: &str| text.chars().take(MAX_SHOWN).collect();
    let (stream, subject) =
        known.ok_or_else(|| Unsendable::Foreign { stream: cut(stream), subject: cut(subject) })?;
    // It becomes part of the message's id. Letters without it would be taken for one another.
    let sequence = sequence.parse().map_err(|_error| Unsendable::NoOrigin)?;
    Ok(Origin { stream, subject, sequence })
}

/// Whether a header goes with the message when it is sent again. Headers of the broker's do not: they are orders to
/// it, such as `Nats-Rollup` and `Nats-Schedule`.
pub(crate) fn is_kept(name: &str) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let ours = name.get(..OURS.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(OURS));
    let is_signature = Provider::ALL.iter().any(|provider| is_in(&[provider.signature_header()]));
    (ours && !is_in(&OF_LETTER)) || is_in(&OF_SENDER) || is_signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_goes_to_the_subjects_of_our_own_streams_and_nowhere_else() {
        let foreign = |stream: &str, subject: &str| {
            Err(Unsendable::Foreign { stream: stream.to_owned(), subject: subject.to_owned() })
        };
        let ours = |stream, subject| Ok(Origin { stream, subject, sequence: 7 });
        #[rustfmt::skip]
        let table = [
            ("WEBHOOKS",     "7",  "webhooks.elevenlabs.call-status",  ours(WEBHOOKS, subject::ELEVENLABS_CALL_STATUS)),
            ("WEBHOOKS",     "7",  "webhooks.twilio.call-status",      ours(WEBHOOKS, subject::TWILIO_CALL_STATUS)),
            ("WEBHOOKS",     "7",  "webhooks.elevenlabs.reconciled",   ours(WEBHOOKS, subject::RECONCILED)),
            ("TRANSCRIPTS",  "7",  "transcripts.due",                  ours(TRANSCRIPTS, subject::TRANSCRIPT_DUE)),
            ("WEBHOOKS",     "7",  "$JS.API.STREAM.PURGE.WEBHOOKS",    foreign("WEBHOOKS", "$JS.API.STREAM.PURGE.WEBHOOKS")),
            ("WEBHOOKS",     "7",  "agent-calls.place",                foreign("WEBHOOKS", "agent-calls.place")),
            ("WEBHOOKS",     "7",  "dead-letters.status",              foreign("WEBHOOKS", "dead-letters.status")),
            ("WEBHOOKS",     "7",  "webhooks.other",                   foreign("WEBHOOKS", "webhooks.other")),
            ("WEBHOOKS",     "7",  "webhooks.twilio.call-status.x",    foreign("WEBHOOKS", "webhooks.twilio.call-status.x")),
            ("WEBHOOKS",     "7",  "transcripts.due",                  foreign("WEBHOOKS", "transcripts.due")),
            ("TRANSCRIPTS",  "7",  "transcripts.later.conv_1",         foreign("TRANSCRIPTS", "transcripts.later.conv_1")),
            ("DEAD_LETTERS", "7",  "webhooks.twilio.call-status",      foreign("DEAD_LETTERS", "webhooks.twilio.call-status")),
            ("",             "7",  "webhooks.twilio.call-status",      Err(Unsendable::NoOrigin)),
            ("WEBHOOKS",     "7",  "",                                 Err(Unsendable::NoOrigin)),
            ("WEBHOOKS",     "",   "webhooks.twilio.call-status",      Err(Unsendable::NoOrigin)),
            ("WEBHOOKS",     "-1", "webhooks.twilio.call-status",      Err(Unsendable::NoOrigin)),
        ];
        for (stream, sequence, subject, expected) in table {
            assert_eq!(origin(stream, sequence, subject), expected, "{stream} {sequence} {subject}");
        }
        let Err(long) = origin("WEBHOOKS", "1", &"x\n".repeat(500)) else { panic!("it is foreign") };
        let shown = long.to_string();
        assert!(shown.len() < 300 && !shown.contains('\n'), "cut, and of one line: {shown}");
    }

    #[test]
    fn only_headers_of_the_gateway_and_of_the_sender_go_with_a_letter() {
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
