//! Identifiers, validated before they enter a query, a subject or a path.

use aftercall_common::phone_numbers::Numbers;
use serde_json::{Map, Value};

/// Longest call id, in characters. Twilio's ids have 34, SIP call ids rarely more than 100.
const MAX_LENGTH: usize = 256;
const MAX_CONVERSATION_LENGTH: usize = 128;
const MAX_PLACEMENT_LENGTH: usize = 64;

/// Telephony id of a call: a Twilio `CallSid` or a SIP call id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(String);

/// Id of an ElevenLabs conversation: letters, digits, `_` and `-`. So it is safe in the path of a URL and in
/// a NATS subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(String);

/// Id that Aftercall gives to a call that is placed through its API: letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlacementId(String);

/// Why an identifier cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct IdentifierError {
    field: &'static str,
    problem: &'static str,
}

impl CallId {
    /// Takes 1 to 256 visible ASCII characters. SIP call ids hold `@`, `.` and other signs.
    pub fn new(id: impl Into<String>) -> Result<Self, IdentifierError> {
        let id = id.into();
        let fits = (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        let problem = "must be 1 to 256 visible ASCII characters";
        if fits { Ok(Self(id)) } else { Err(IdentifierError { field: "call_id", problem }) }
    }

    /// The id as logs show it: a dialler may use the number of the callee as the id of the call.
    pub fn masked(&self) -> String {
        Numbers::Masked.id(&self.0).into_owned()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConversationId {
    /// Takes 1 to 128 letters, digits, `_` and `-`.
    pub fn new(id: impl Into<String>) -> Result<Self, IdentifierError> {
        let id = id.into();
        let fits = (1..=MAX_CONVERSATION_LENGTH).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let problem = "must be 1 to 128 letters, digits, '_' or '-'";
        if fits { Ok(Self(id)) } else { Err(IdentifierError { field: "conversation_id", problem }) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PlacementId {
    /// Takes 1 to 64 letters, digits and `-`.
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

/// Reads an identifier of `object`. `None` for a missing field, null and a blank text. A whole number is read
/// as its digits.
///
/// # Errors
/// The value is neither a text nor a whole number.
pub fn read(object: &Map<String, Value>, field: &'static str) -> Result<Option<String>, IdentifierError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) => Ok(Some(id.trim().to_owned()).filter(|id| !id.is_empty())),
        // JSON readers round a number with a fraction, an exponent or more than 64 bits.
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => Err(IdentifierError { field, problem: "must be a string or a whole number" }),
    }
}

/// Reads an identifier. `None` for a value that cannot be an identifier.
pub fn lenient_id<T>(value: &Value, new: impl Fn(String) -> Result<T, IdentifierError>) -> Option<T> {
    match value {
        Value::String(id) => new(id.trim().to_owned()).ok(),
        Value::Number(number) if number.is_u64() => new(number.to_string()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_identifier_is_a_text_or_a_whole_number() {
        #[rustfmt::skip]
        let table = [ // value, identifier, by the lenient reading
            (json!("c1"),                        Ok(Some("c1")),    Some("c1")),
            (json!(" c1\n"),                     Ok(Some("c1")),    Some("c1")),
            (json!(7),                           Ok(Some("7")),     Some("7")),
            (json!(18_446_744_073_709_551_615_u64), Ok(Some("18446744073709551615")), Some("18446744073709551615")),
            (json!(0),                           Ok(Some("0")),     Some("0")),
            (json!(null),                        Ok(None),          None),
            (json!(""),                          Ok(None),          None),
            (json!(" \t"),                       Ok(None),          None),
            (json!(-7),                          Err(()),           None),
            (json!(7.0),                         Err(()),           None),
            (json!(1e20),                        Err(()),           None),
            (json!(true),                        Err(()),           None),
            (json!(["c1"]),                      Err(()),           None),
            (json!({ "$ne": null }),             Err(()),           None),
        ];
        for (value, expected, leniently) in table {
            let object = Map::from_iter([("call_id".to_owned(), value.clone())]);
            let found = read(&object, "call_id").map_err(drop);
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{value}");
            assert_eq!(lenient_id(&value, CallId::new).as_ref().map(CallId::as_str), leniently, "{value}");
        }
        assert_eq!(read(&Map::new(), "call_id"), Ok(None));
    }

    #[test]
    fn an_empty_or_blank_text_is_no_identifier() {
        assert!(CallId::new("").is_err() && CallId::new(" ").is_err());
        assert!(ConversationId::new("").is_err() && ConversationId::new(" ").is_err());
    }
}
