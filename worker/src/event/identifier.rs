//! Identifiers, validated before they enter a query, a subject or a path.

use serde_json::{Map, Value};

/// Longest identifier taken. Twilio's are 34 characters, SIP call ids rarely over 100.
const MAX_LENGTH: usize = 256;
const MAX_CONVERSATION_LENGTH: usize = 128;
const MAX_PLACEMENT_LENGTH: usize = 64;

/// Telephony id of a call: a Twilio `CallSid` or a SIP call id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(String);

/// Id of an ElevenLabs conversation: letters, digits, `_` and `-`, so it is safe in a URL path and
/// in a NATS subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(String);

/// Our id of a placed call: letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlacementId(String);

/// An identifier that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct IdentifierError {
    field: &'static str,
    problem: &'static str,
}

impl CallId {
    /// Visible ASCII, up to 256 characters: SIP call ids hold `@`, `.` and more.
    pub fn new(id: impl Into<String>) -> Result<Self, IdentifierError> {
        let id = id.into();
        let fits = id.len() <= MAX_LENGTH && id.bytes().all(|byte| byte.is_ascii_graphic());
        let problem = "must be up to 256 visible ASCII characters";
        if fits { Ok(Self(id)) } else { Err(IdentifierError { field: "call_id", problem }) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConversationId {
    /// Letters, digits, `_` and `-`, up to 128.
    pub fn new(id: impl Into<String>) -> Result<Self, IdentifierError> {
        let id = id.into();
        let fits = id.len() <= MAX_CONVERSATION_LENGTH
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let problem = "must be up to 128 letters, digits, '_' or '-'";
        if fits { Ok(Self(id)) } else { Err(IdentifierError { field: "conversation_id", problem }) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PlacementId {
    /// Letters, digits and `-`, from 1 to 64.
    pub fn new(id: impl Into<String>) -> Result<Self, IdentifierError> {
        let id = id.into();
        let fits = (1..=MAX_PLACEMENT_LENGTH).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let problem = "must be 1 to 64 letters, digits or '-'";
        if fits { Ok(Self(id)) } else { Err(IdentifierError { field: "placement_id", problem }) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads a string identifier of `object`: absent, null and empty all mean that there is none.
pub fn text<'a>(
    object: &'a Map<String, Value>,
    field: &'static str,
) -> Result<Option<&'a str>, IdentifierError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id.trim()).filter(|id| !id.is_empty())),
        Some(_) => Err(IdentifierError { field, problem: "must be a string" }),
    }
}
