//! Which form a body of the ElevenLabs route has: the vendor's envelope, the same without its wrapper, or the
//! flat form.
//!
//! Automation tools and own services send the vendor's events in other shapes: with the fields of `data` at the
//! top, with `data` as a JSON text, or without `type`. A shape counts only where it is certain.

use aftercall_common::json::{
    self,
    measure::{LIMITS, measure},
};
use serde_json::{Map, Value};

use super::{EventType, ParseError, elevenlabs::Kind, identifier, names::Names, words};
use crate::domain::text::{MAX_WORD, cut};

/// Longest `data` that is read as a JSON text. Whoever bounds the values of a body counts it as one.
const MAX_TEXT: usize = 2 * 1024 * 1024;

/// Where the fields of an event are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Under `data`.
    Data,
    /// At the top.
    Top,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An event of the vendor's envelope.
    Envelope(Kind, Place),
    /// An event of the flat form.
    Flat(EventType, Place),
}

/// Finds the form. `data` that is a JSON text becomes the object it holds.
pub(super) fn of(raw: &mut Map<String, Value>) -> Result<Shape, ParseError> {
    if let Some(Value::String(text)) = raw.get("data")
        && text.len() <= MAX_TEXT
        && measure([text.as_bytes()], LIMITS).is_ok()
        && let Ok(data) = json::read_object(text.as_bytes())
    {
        raw.insert("data".to_owned(), data.into());
    }
    let data = raw.get("data").and_then(Value::as_object);
    let words = ["type", "event_type"].map(|field| raw.get(field).and_then(Value::as_str).map(str::trim));
    let words = || words.into_iter().flatten().filter(|word| !word.is_empty());
    let Some(word) = words().next() else {
        return by_its_fields(raw).ok_or_else(|| ParseError::NoEventType(Names::of(raw)));
    };
    let exact = (words().find_map(Kind::exact), words().find_map(EventType::exact));
    let (kind, event_type) = match exact {
        (None, None) => (words().find_map(Kind::from_word), words().find_map(EventType::from_word)),
        exact => exact,
    };
    match (kind, event_type, data) {
        (Some(kind), _, Some(_)) => Ok(Shape::Envelope(kind, Place::Data)),
        // Both forms have one of the events. Only the vendor's has an object of that name.
        (Some(kind), _, None) if raw.get("metadata").is_some_and(Value::is_object) => {
            Ok(Shape::Envelope(kind, Place::Top))
        }
        (Some(kind), None, None) if names_a_call(raw) => Ok(Shape::Envelope(kind, Place::Top)),
        (_, Some(event_type), Some(data)) if !names_a_call(raw) && names_a_call(data) => {
            Ok(Shape::Flat(event_type, Place::Data))
        }
        (_, Some(event_type), _) => Ok(Shape::Flat(event_type, Place::Top)),
        (Some(_), None, None) => Err(ParseError::UnexpectedShape(cut(word, MAX_WORD), Names::of(raw))),
        (None, None, data) => {
            let is_foreign = !names_a_call(raw) && !data.is_some_and(names_a_call);
            match words().find_map(words::foreign_family).filter(|_| is_foreign) {
                Some(family) => Err(ParseError::NotAboutACall(family)),
                None => Err(ParseError::UnsupportedEvent(cut(word, MAX_WORD), Names::of(raw))),
            }
        }
    }
}

/// The form of a body that names no event, where its fields leave no doubt.
fn by_its_fields(raw: &Map<String, Value>) -> Option<Shape> {
    match raw.get("data").and_then(Value::as_object) {
        Some(data) => {
            let kind = kind_of(data).or_else(|| is_over(data).then_some(Kind::Transcription))?;
            Some(Shape::Envelope(kind, Place::Data))
        }
        // A status alone is what the flat form has too.
        None => Some(Shape::Envelope(kind_of(raw)?, Place::Top)),
    }
}

/// The kind whose fields these are, and those of no other.
fn kind_of(data: &Map<String, Value>) -> Option<Kind> {
    let is = |field: &str, is: fn(&Value) -> bool| data.get(field).is_some_and(is);
    if !has_conversation(data) {
        None
    } else if is("full_audio", Value::is_string) {
        Some(Kind::Audio)
    } else if is("transcript", Value::is_array) && (is_over(data) || !data.contains_key("status")) {
        Some(Kind::Transcription)
    } else if is("failure_reason", Value::is_string)
        && data.get("metadata").and_then(|metadata| metadata.get("body")).is_some_and(Value::is_object)
    {
        Some(Kind::InitiationFailure)
    } else {
        None
    }
}

/// Whether a conversation is over, in the word of the vendor.
fn is_over(data: &Map<String, Value>) -> bool {
    let status = data.get("status").and_then(Value::as_str);
    has_conversation(data) && matches!(status.map(str::trim), Some("done" | "failed"))
}

fn has_conversation(data: &Map<String, Value>) -> bool {
    identifier::text(data, "conversation_id").is_ok_and(|id| id.is_some())
}

/// Whether the fields name a call in one of the ways of either form, rightly or wrongly.
fn names_a_call(fields: &Map<String, Value>) -> bool {
    ["conversation_id", "call_id", "call_sid", "CallSid"].into_iter().any(|field| {
        fields
            .get(field)
            .is_some_and(|id| !id.is_null() && id.as_str().is_none_or(|id| !id.trim().is_empty()))
    })
}
