//! Reads values out of the `data` of ElevenLabs' envelope.

use serde_json::{Map, Value};

use crate::domain::{
    event::spelling::normalize,
    text::{MAX_WORD, cut},
};

/// Name of the dynamic variable that carries the id of a placement to ElevenLabs and back.
pub const PLACEMENT_VARIABLE: &str = "aftercall_placement_id";

/// Longest duration of a conversation that counts, in seconds. ElevenLabs ends a conversation after two hours.
pub(super) const MAX_DURATION: i64 = 86_400;

/// A number, rounded towards zero. A number that is too large becomes the largest one.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and the caller checks the range"
    )]
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

/// The text of a field, cut to [`MAX_WORD`] characters.
pub(super) fn word(data: &Map<String, Value>, field: &str) -> Option<String> {
    data.get(field).and_then(Value::as_str).map(|word| cut(word, MAX_WORD))
}

/// The value at `path`.
pub(super) fn at_path<'a>(data: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(data.get(*first)?, |value, step| value.get(step))
}

/// Whether the call of this conversation was never connected, so that the conversation will never begin.
pub fn never_connected(conversation: &Map<String, Value>) -> bool {
    call_result(conversation).is_some_and(|result| matches!(result.as_str(), "busy" | "noanswer" | "failed"))
}

/// The result of the telephone call or of the `WhatsApp` call of a conversation, in normalized spelling.
pub(super) fn call_result(conversation: &Map<String, Value>) -> Option<String> {
    let paths = [["metadata", "phone_call", "call_result"], ["metadata", "whatsapp", "call_result"]];
    paths.iter().find_map(|path| at_path(conversation, path)?.as_str()).map(normalize)
}

/// The SIP code of Twilio or of the trunk.
pub(super) fn sip_code(body: &Map<String, Value>) -> Option<String> {
    text(body, "sip_status_code").or_else(|| text(body, "SipResponseCode"))
}

/// The text or the number in a field.
pub(super) fn text(body: &Map<String, Value>, field: &str) -> Option<String> {
    match body.get(field)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
