//! The subjects of stream messages.

use super::provider::Provider;

/// Webhooks of ElevenLabs.
pub const ELEVENLABS_CALL_STATUS: &str = Provider::ElevenLabs.subject();
/// Status callbacks of Twilio.
pub const TWILIO_CALL_STATUS: &str = Provider::Twilio.subject();
/// Conversations that reconciliation read from ElevenLabs' API, in the envelope of ElevenLabs' webhooks.
pub const RECONCILED: &str = "webhooks.elevenlabs.reconciled";
/// A job to fetch a transcript or a recording that is due now.
pub const TRANSCRIPT_DUE: &str = "transcripts.due";

/// All subjects of the stream `WEBHOOKS`.
pub(super) const ALL_WEBHOOKS: &str = "webhooks.>";
/// All subjects of the stream `TRANSCRIPTS`.
pub(super) const ALL_TRANSCRIPTS: &str = "transcripts.>";
/// All subjects of the stream `CALLS`.
pub(super) const ALL_CALLS: &str = "calls.>";
/// All subjects of the stream `DELIVERIES`.
pub(super) const ALL_DELIVERIES: &str = "deliveries.>";
/// All subjects of the stream `DEAD_LETTERS`.
pub(super) const ALL_DEAD_LETTERS: &str = "dead-letters.>";

/// The kinds of messages in the stream `WEBHOOKS`. Each has a subject of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookSubject {
    /// A webhook that the gateway accepted from this provider.
    Received(Provider),
    /// A conversation that reconciliation read: see [`RECONCILED`].
    Reconciled,
}

impl WebhookSubject {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Provider::ALL.iter().copied().map(Self::Received).chain([Self::Reconciled])
    }

    /// The kind of the messages on `subject`. `None`: Aftercall publishes nothing to this subject.
    pub fn parse(subject: &str) -> Option<Self> {
        Self::all().find(|known| known.as_str() == subject)
    }

    /// The subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received(provider) => provider.subject(),
            Self::Reconciled => RECONCILED,
        }
    }
}

/// The subject of the transcript job that waits for a conversation. Each conversation has a subject of its
/// own, so a later schedule replaces the earlier one: a conversation never has more than one waiting job.
pub fn transcript_later(conversation_key: &str) -> String {
    format!("transcripts.later.{conversation_key}")
}

/// The subject of the recording job that waits for a conversation. As for transcripts, a later schedule replaces
/// the earlier one.
pub fn recording_later(conversation_key: &str) -> String {
    format!("transcripts.recording.{conversation_key}")
}

/// The subject of the deliveries to `endpoint` that are due now.
pub fn delivery_due(endpoint: &str) -> String {
    format!("deliveries.due.{endpoint}")
}

/// The subject of the delivery of one message to `endpoint` that waits. A later schedule replaces the earlier one, so
/// a message never has more than one waiting delivery to an endpoint.
pub fn delivery_later(endpoint: &str, stream: &str, sequence: u64) -> String {
    format!("deliveries.later.{endpoint}.{stream}.{sequence}")
}

/// The subject of the dead letters of `consumer`.
pub fn dead_letter(consumer: &str) -> String {
    format!("dead-letters.{consumer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_subjects_that_aftercall_publishes_to_are_known() {
        for known in WebhookSubject::all() {
            assert_eq!(WebhookSubject::parse(known.as_str()), Some(known));
        }
        for unknown in ["", "webhooks.twilio", "webhooks.twilio.call-status.x", "webhooks.vapi.call-status"] {
            assert_eq!(WebhookSubject::parse(unknown), None, "{unknown}");
        }
    }
}
