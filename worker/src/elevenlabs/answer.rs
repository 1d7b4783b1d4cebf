//! What an answer of the API means. Pure.

use std::time::Duration;

use aftercall_common::json::{
    self,
    measure::{LIMITS, measure},
};
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::{conversation::ConversationStatus, time::between};

/// Longest `Retry-After` obeyed; a longer one is asked for again when this has passed.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// Why there is no conversation, by what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404. May come into being: conversations lag behind calls.
    #[error("the conversation is not known to ElevenLabs")]
    NotFound,
    /// 401, 402, 403, also to a neutral request: the key, the plan or the address is refused. Concerns every
    /// request.
    #[error("ElevenLabs refuses the API key ({0})")]
    Unauthorized(StatusCode),
    /// 429. Concerns every request.
    #[error("ElevenLabs asks for fewer requests")]
    RateLimited {
        /// How long to be quiet, where the vendor says so.
        retry_after: Option<Duration>,
    },
    /// 5xx, network, or an answer that breaks off.
    #[error("ElevenLabs is unavailable: {0}")]
    Unavailable(&'static str),
    /// Another 4xx, or one of those to this request alone: this conversation will not be given.
    #[error("ElevenLabs refuses this conversation ({0})")]
    Refused(StatusCode),
    /// Larger than can be stored.
    #[error("the conversation is larger than can be stored")]
    TooLarge,
    /// 2xx, and the body is not what was asked for. Where others can be read, it is this one.
    #[error("the answer of ElevenLabs is not understood")]
    Unreadable,
}

impl ApiError {
    /// Whether another conversation may be had while this one is not.
    pub fn concerns_one_conversation(&self) -> bool {
        match self {
            Self::NotFound | Self::Refused(_) | Self::TooLarge | Self::Unreadable => true,
            Self::Unauthorized(_) | Self::RateLimited { .. } | Self::Unavailable(_) => false,
        }
    }

    /// Stable label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized(_) => "unauthorized",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Classes an answer that is not a success.
pub(super) fn classify(status: StatusCode, retry_after: Option<&str>, now: Timestamp) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
            ApiError::Unauthorized(status)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            ApiError::RateLimited { retry_after: retry_after.and_then(|text| wait(text, now)) }
        }
        // 408 and 409 are what the vendor's own SDK repeats besides 5xx.
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => ApiError::Unavailable("asked to repeat"),
        status if status.is_client_error() => ApiError::Refused(status),
        _ => ApiError::Unavailable("server error"),
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date.
fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        between(now, until)
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A conversation, as far as we use it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conversation {
    /// Where it stands.
    pub status: ConversationStatus,
    /// Its agent.
    #[serde(default, deserialize_with = "or_default")]
    pub agent_id: Option<String>,
    /// The turns, as the API gives them.
    #[serde(default, deserialize_with = "or_default")]
    pub transcript: Vec<Value>,
    /// Times, length and the telephone call.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

/// What the API tells about a conversation besides its turns.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Metadata {
    /// Begin, Unix seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub start_time_unix_secs: Option<i64>,
    /// Length, seconds.
    #[serde(default, deserialize_with = "or_default")]
    pub call_duration_secs: Option<i64>,
    /// Why it ended, in words.
    #[serde(default, deserialize_with = "or_default")]
    pub termination_reason: Option<String>,
    /// What went wrong.
    #[serde(default, deserialize_with = "or_default")]
    pub error: Option<ConversationFailure>,
    /// The telephone call, where it was one.
    #[serde(default, deserialize_with = "or_default")]
    pub phone_call: Option<PhoneCall>,
}

/// Why a conversation failed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ConversationFailure {
    /// In words.
    #[serde(default, deserialize_with = "or_default")]
    pub reason: Option<String>,
}

/// The telephone call of a conversation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PhoneCall {
    /// Twilio's `CallSid`, or the SIP call's id, as it came.
    #[serde(default)]
    pub call_sid: Value,
    /// The agent's number.
    #[serde(default, deserialize_with = "or_default")]
    pub phone_number_id: Option<String>,
    /// The other party's number.
    #[serde(default, deserialize_with = "or_default")]
    pub external_number: Option<String>,
    /// `answered`, `voicemail`, `busy`, `no_answer` or `failed`.
    #[serde(default, deserialize_with = "or_default")]
    pub call_result: Option<String>,
}

/// What is there and of the shape we know. The vendor adds and changes fields without notice, and a
/// transcript must not be lost to a length of a call that has become a fraction.
fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(value: D) -> Result<T, D::Error> {
    let value = Value::deserialize(value)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Conversation {
    /// Why it failed, as far as it says.
    pub fn failure_reason(&self) -> Option<&str> {
        let error = self.metadata.error.as_ref().and_then(|error| error.reason.as_deref());
        let reasons = [error, self.metadata.termination_reason.as_deref()];
        reasons.into_iter().flatten().map(str::trim).find(|reason| !reason.is_empty())
    }
}

/// Reads an answer as webhooks are read: what a sender may write, ElevenLabs may pass on.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Parsed, many small values would take more memory than a worker has.
    measure([body], LIMITS).map_err(|_error| ApiError::TooLarge)?;
    let value = json::read(body).map_err(|_error| ApiError::Unreadable)?;
    serde_json::from_value(value).map_err(|_error| ApiError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn an_answer_of_too_many_values_is_not_parsed() {
        let arrays = |count: usize| format!("[{}0]", "[],".repeat(count));
        assert!(read::<Value>(arrays(1000).as_bytes()).is_ok());
        assert_eq!(read::<Value>(arrays(300_000).as_bytes()), Err(ApiError::TooLarge));
        assert_eq!(read::<Value>(b"<html>"), Err(ApiError::Unreadable));
    }

    #[test]
    fn every_status_has_its_class() {
        let now = Timestamp::UNIX_EPOCH;
        #[rustfmt::skip]
        let table = [
            (400, "refused"), (401, "unauthorized"), (402, "unauthorized"), (403, "unauthorized"),
            (404, "not_found"), (408, "unavailable"), (409, "unavailable"), (422, "refused"),
            (429, "rate_limited"), (500, "unavailable"), (502, "unavailable"), (503, "unavailable"),
            (302, "unavailable"),
        ];
        for (code, label) in table {
            assert_eq!(classify(status(code), None, now).label(), label, "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = "2026-09-22T12:00:00Z".parse().unwrap();
        #[rustfmt::skip]
        let table = [
            ("7",                             Some(7)),
            (" 0 ",                           Some(0)),
            ("86400",                         Some(600)),
            ("Tue, 22 Sep 2026 12:00:30 GMT", Some(30)),
            ("Tue, 22 Sep 2026 11:00:00 GMT", Some(0)),
            ("-1",                            None),
            ("soon",                          None),
        ];
        for (text, seconds) in table {
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_conversation_is_read_and_garbage_is_said_to_be_unreadable() {
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
