//! The event type that the body of a message names, for grouping dead letters. Pure.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Most characters of an event type that is kept.
const MAX_CHARS: usize = 64;
/// Most digits. More of them could be a telephone number.
const MAX_DIGITS: usize = 3;

/// The fields in which bodies name their event type. All other values are skipped without being held.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type", default)]
    envelope: Text,
    #[serde(rename = "event_type", default)]
    flat: Text,
}

/// A text, or nothing for any other value.
#[derive(Default)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(is_short_word(text).then(|| text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Text, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Text, A::Error> {
        IgnoredAny.visit_map(fields).map(|_| Text(None))
    }
}

/// The event type. `None`: the body names none, or one that is no short word. Such a word may hold anything, and
/// headers of dead letters hold nothing of a body but event types and names of fields.
pub(super) fn event_type(body: &[u8]) -> Option<String> {
    if body.trim_ascii_start().starts_with(b"{") {
        let named: Named = serde_json::from_slice(body).ok()?;
        return named.envelope.0.or(named.flat.0);
    }
    let status = form_urlencoded::parse(body).find(|(name, _)| name == "CallStatus");
    status.map(|(_, word)| word.into_owned()).filter(|word| is_short_word(word))
}

fn is_short_word(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_CHARS).contains(&word.len())
        && word.chars().all(fits)
        && word.chars().filter(char::is_ascii_digit).count() <= MAX_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_word_is_an_event_type() {
        let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(65));
        #[rustfmt::skip]
        let table = [
            (r#"{"event_type":"call.teleported","call_id":"c"}"#,        Some("call.teleported")),
            (r#" {"type":"post_call_transcription","data":{"type":"x"}}"#, Some("post_call_transcription")),
            (r#"{"type":7,"event_type":"call.busy"}"#,                    Some("call.busy")),
            (r#"{"type":{"a":[1]},"event_type":["call.busy"]}"#,          None),
            (r#"{"event_type":"call for +6581234567"}"#,                  None),
            (r#"{"event_type":"6581234567"}"#,                            None),
            (r#"{"event_type":""}"#,                                      None),
            (r#"{"event_type":"call.busy""#,                              None),
            (&long,                                                       None),
            ("CallSid=CA1&CallStatus=no-answer",                          Some("no-answer")),
            ("CallSid=CA1",                                               None),
            ("",                                                          None),
        ];
        for (body, expected) in table {
            assert_eq!(event_type(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
