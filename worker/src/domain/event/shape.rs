//! Recognizes the shape of a body that was sent to the route of ElevenLabs: the vendor's envelope or the flat
//! form.
//!
//! Automation tools and customers' own services send the vendor's events in other shapes: with the fields of
//! `data` at the top, with `data` as a JSON text, or without `type`. A shape is accepted only if it is
//! unambiguous.

use aftercall_common::json::{
    self,
    measure::{LIMITS, measure},
};
use serde_json::{Map, Value};

use super::{
    error::ParseError, event_type::EventType, field_names::FieldNames, foreign, identifier, kind::Kind,
};
use crate::domain::text::{MAX_WORD, cut};

/// Longest text in `data` that is read as JSON, in bytes. The gateway counts such a text as one value, so the values in it
/// are counted here.
const MAX_DATA_TEXT: usize = 2 * 1024 * 1024;

/// The place of the event's fields in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In the object `data`.
    Data,
    /// At the top of the body.
    Top,
}

/// The shape of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An event of the vendor's envelope.
    Envelope(Kind, Location),
    /// An event of the flat form.
    Flat(EventType, Location),
}

/// Recognizes the shape of a body. If `data` is a text that holds a JSON object, the object replaces the text.
///
/// # Errors
/// The event type is missing, unknown or of another product, or the shape is ambiguous.
pub(super) fn of(raw: &mut Map<String, Value>) -> Result<Shape, ParseError> {
    if let Some(Value::String(text)) = raw.get("data")
        && text.len() <= MAX_DATA_TEXT
        && measure([text.as_bytes()], LIMITS).is_ok()
        && let Ok(data) = json::read_object(text.as_bytes())
    {
        raw.insert("data".to_owned(), data.into());
    }
    let data = raw.get("data").and_then(Value::as_object);
    let type_fields =
        ["type", "event_type"].map(|field| raw.get(field).and_then(Value::as_str).map(str::trim));
    let words = || type_fields.into_iter().flatten().filter(|word| !word.is_empty());
    let Some(word) = words().next() else {
        return shape_of_fields(raw).ok_or_else(|| ParseError::NoEventType(FieldNames::of(raw)));
    };
    let exact = (words().find_map(Kind::exact), words().find_map(EventType::exact));
    let (kind, event_type) = match exact {
        (None, None) => (words().find_map(Kind::from_word), words().find_map(EventType::from_word)),
        exact => exact,
    };
    match (kind, event_type, data) {
        (Some(kind), _, Some(_)) => Ok(Shape::Envelope(kind, Location::Data)),
        // Both forms have `call_initiation_failure`. Only the vendor's form has an object `metadata`.
        (Some(kind), _, None) if raw.get("metadata").is_some_and(Value::is_object) => {
            Ok(Shape::Envelope(kind, Location::Top))
        }
        (Some(kind), None, None) if names_a_call(raw) => Ok(Shape::Envelope(kind, Location::Top)),
        (_, Some(event_type), Some(data)) if !names_a_call(raw) && names_a_call(data) => {
            Ok(Shape::Flat(event_type, Location::Data))
        }
        (_, Some(event_type), _) => Ok(Shape::Flat(event_type, Location::Top)),
        (Some(_), None, None) => Err(ParseError::UnexpectedShape(cut(word, MAX_WORD), FieldNames::of(raw))),
        (None, None, data) => {
            let is_foreign = !names_a_call(raw) && !data.is_some_and(names_a_call);
            match words().find_map(foreign::family).filter(|_| is_foreign) {
                Some(family) => Err(ParseError::NotAboutACall(family)),
                None => Err(ParseError::UnsupportedEvent(cut(word, MAX_WORD), FieldNames::of(raw))),
            }
        }
    }
}

/// The shape of a body without an event type. `None` if the fields are ambiguous.
fn shape_of_fields(raw: &Map<String, Value>) -> Option<Shape> {
    match raw.get("data").and_then(Value::as_object) {
        Some(data) => {
            let kind = kind_of_fields(data).or_else(|| is_over(data).then_some(Kind::Transcription))?;
            Some(Shape::Envelope(kind, Location::Data))
        }
        // A body of the flat form may have a `status` too, so the status alone proves nothing.
        None => Some(Shape::Envelope(kind_of_fields(raw)?, Location::Top)),
    }
}

/// The kind of event that has these fields. `None` if the fields fit no kind, or both a recording and a transcript.
fn kind_of_fields(data: &Map<String, Value>) -> Option<Kind> {
    let has = |field: &str, is_type: fn(&Value) -> bool| data.get(field).is_some_and(is_type);
    let (has_audio, has_turns) = (has("full_audio", Value::is_string), has("transcript", Value::is_array));
    if !has_conversation(data) || (has_audio && has_turns) {
        None
    } else if has_audio {
        Some(Kind::Audio)
    } else if has_turns && (is_over(data) || !data.contains_key("status")) {
        Some(Kind::Transcription)
    } else if has("failure_reason", Value::is_string)
        && data.get("metadata").and_then(|metadata| metadata.get("body")).is_some_and(Value::is_object)
    {
        Some(Kind::InitiationFailure)
    } else {
        None
    }
}

/// Whether `data` is a conversation that is over, by the status that ElevenLabs gives it.
fn is_over(data: &Map<String, Value>) -> bool {
    let status = data.get("status").and_then(Value::as_str);
    has_conversation(data) && matches!(status.map(str::trim), Some("done" | "failed"))
}

fn has_conversation(data: &Map<String, Value>) -> bool {
    identifier::read(data, "conversation_id").is_ok_and(|id| id.is_some())
}

/// Whether an identifier of either form is present, valid or not.
fn names_a_call(fields: &Map<String, Value>) -> bool {
    ["conversation_id", "call_id", "call_sid", "CallSid"].into_iter().any(|field| {
        fields
            .get(field)
            .is_some_and(|id| !id.is_null() && id.as_str().is_none_or(|id| !id.trim().is_empty()))
    })
}
