//! A conversation as the API returns it.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::conversation::ConversationStatus;

/// A conversation: the fields that the worker uses.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conversation {
    /// The state of the conversation.
    pub status: ConversationStatus,
    /// The id of the agent.
    #[serde(default, deserialize_with = "or_default")]
    pub agent_id: Option<String>,
    /// The turns, in the form of the API.
    #[serde(default, deserialize_with = "or_default")]
    pub transcript: Vec<Value>,
    /// Start, length, and the telephone call.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

/// The metadata of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Metadata {
    /// Start, in Unix seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub start_time_unix_secs: Option<i64>,
    /// Length, in seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub call_duration_secs: Option<i64>,
    /// Why the conversation ended, in words.
    #[serde(default, deserialize_with = "or_default")]
    pub termination_reason: Option<String>,
    /// Why the conversation failed.
    #[serde(default, deserialize_with = "or_default")]
    pub error: Option<ConversationFailure>,
    /// The telephone call, if the conversation was one.
    #[serde(default, deserialize_with = "or_default")]
    pub phone_call: Option<PhoneCall>,
}

/// Why a conversation failed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ConversationFailure {
    /// The reason, in words.
    #[serde(default, deserialize_with = "or_default")]
    pub reason: Option<String>,
}

/// The telephone call of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PhoneCall {
    /// Twilio's `CallSid`, or the id of the SIP call, as received.
    #[serde(default)]
    pub call_sid: Value,
    /// The id of the agent's telephone number.
    #[serde(default, deserialize_with = "or_default")]
    pub phone_number_id: Option<String>,
    /// The telephone number of the other party.
    #[serde(default, deserialize_with = "or_default")]
    pub external_number: Option<String>,
    /// `answered`, `voicemail`, `busy`, `no_answer` or `failed`.
    #[serde(default, deserialize_with = "or_default")]
    pub call_result: Option<String>,
}

/// The value, or its default if the value has an unexpected form. ElevenLabs adds and changes fields without
/// notice; a transcript must not be lost because the length of its call has become a fraction, for example.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(value: D) -> Result<T, D::Error> {
    let value = Value::deserialize(value)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Conversation {
    /// Why the conversation failed, if ElevenLabs gives a reason.
    pub fn failure_reason(&self) -> Option<&str> {
        let error = self.metadata.error.as_ref().and_then(|error| error.reason.as_deref());
        let reasons = [error, self.metadata.termination_reason.as_deref()];
        reasons.into_iter().flatten().map(str::trim).find(|reason| !reason.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::answer::read, *};

    #[test]
    fn a_conversation_is_read_and_any_other_body_is_unreadable() {
        let seen = read::<Conversation>(
            br#"{"status":"in-progress","agent_id":"a","transcript":[{"role":"user"}],"metadata":{"error":null,"x":1}}"#,
        );
        assert_eq!(seen.unwrap().status, ConversationStatus::InProgress);
        let odd = read::<Conversation>(
            br#"{"status":"done","transcript":null,"metadata":{"call_duration_secs":1.5,"start_time_unix_secs":7}}"#,
        );
        assert_eq!(odd.unwrap().metadata.start_time_unix_secs, Some(7));
        let half = read::<Conversation>(
            br#"{"status":"done","transcript":[{"message":"\ud83d"}],"metadata":{"cost":1e400}}"#,
        );
        assert_eq!(half.unwrap().transcript[0]["message"], "\u{FFFD}");
        for garbage in [&b"{\"status\":\"do"[..], b"[]", b"{\"status\":\"new\"}", b""] {
            assert_eq!(read::<Conversation>(garbage).unwrap_err().label(), "unreadable");
        }
    }
}
