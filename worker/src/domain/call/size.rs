//! Bounds the values of an event, so that each document of a call fits into MongoDB's 16 MiB. Pure.
//!
//! Each field has a bound of its own, and the sum of all bounds is below 16 MiB. So every combination of
//! events fits. A value above its bound is left out: a small object that holds its size replaces it. A large
//! transcript becomes a file. The decision depends on the event alone, so order and repetition of events do
//! not matter.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::field::{Field, SizeClass};
use crate::domain::event::{Event, Recording};

const MIB: usize = 1024 * 1024;
/// A payload of at most this size holds no value that is above a bound.
const SMALL_PAYLOAD: usize = MIB / 8;
/// Largest request to place a call, as BSON in bytes.
pub const MAX_REQUEST: usize = MIB / 8;
/// Largest callback of Twilio without a status. The gateway takes forms of at most 64 KiB.
const MAX_FORM: usize = 80 * 1024;

/// A file that is stored separately from the document. Its id is the id of the event.
#[derive(Clone, PartialEq, Eq)]
pub enum Attachment {
    /// The recording of a call.
    Recording(Recording),
    /// The turns of a conversation, a JSON array.
    Transcript(Bytes),
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Recording(recording) => recording.fmt(f),
            Self::Transcript(turns) => write!(f, "Transcript({} bytes)", turns.len()),
        }
    }
}

/// Most bytes of a field of each class, as BSON.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    payload: usize,
    transcript: usize,
    part: usize,
    detail: usize,
}

/// The bounds for an event that names a conversation or a placement.
const OWN: Bounds = Bounds { payload: 4 * MIB, transcript: 4 * MIB, part: 2 * MIB, detail: MIB };
/// The bounds for an event that names the call alone. Each document of the call stores its values twice: in
/// the fields and in `_call`.
const OF_CALL: Bounds = Bounds { payload: MIB, transcript: MIB / 4, part: MIB / 8, detail: MIB / 8 };

/// Leaves out the values of the event that do not fit into a document, and returns the file that is stored
/// separately from the document.
pub(super) fn fit(event: &mut Event) -> Option<Attachment> {
    let bounds = if event.names_call_alone() { OF_CALL } else { OWN };
    let mut attachment = event.recording.take().map(Attachment::Recording);
    let payload = event.fields.get(&Field::RawResponse);
    let has_turns = payload.is_some_and(|raw| raw["data"]["transcript"].is_array());
    let size = payload.map_or(0, bson_size);
    if size <= SMALL_PAYLOAD && (has_turns || !event.fields.contains_key(&Field::Transcript)) {
        return attachment;
    }
    if let Some(turns) = event.fields.get_mut(&Field::Transcript) {
        let (fitting, file) = split_transcript(&event.id, turns.take(), bounds.transcript);
        *turns = fitting;
        attachment = attachment.or(file);
    }
    for (field, value) in &mut event.fields {
        let bound = match field.size_class() {
            SizeClass::Payload => bounds.payload,
            SizeClass::Part => bounds.part,
            SizeClass::Detail => bounds.detail,
            SizeClass::Form => MAX_FORM,
            SizeClass::Transcript => continue, // Split above.
        };
        let size = bson_size(value);
        if size > bound && *field == Field::RawResponse {
            for place in ["", "/data"] {
                if let Some(Value::Object(object)) = value.pointer_mut(place) {
                    object.remove("transcript");
                }
            }
        }
        if size > bound && bson_size(value) > bound {
            *value = json!({ "leftOut": true, "bytes": size });
        }
    }
    attachment
}

/// The turns of a fetched conversation as the document stores them, and their file if they do not fit.
pub fn fit_transcript(file: &str, turns: Vec<Value>) -> (Value, Option<Attachment>) {
    split_transcript(file, Value::Array(turns), OWN.transcript)
}

fn split_transcript(file: &str, turns: Value, bound: usize) -> (Value, Option<Attachment>) {
    if bson_size(&turns) <= bound {
        return (turns, None);
    }
    let count = turns.as_array().map_or(0, Vec::len);
    let bytes = Bytes::from(serde_json::to_vec(&turns).expect("a Value is JSON"));
    (json!({ "fileId": file, "bytes": bytes.len(), "turns": count }), Some(Attachment::Transcript(bytes)))
}

/// Whether a stored object replaces a value that was left out.
pub fn is_left_out(object: &Map<String, Value>) -> bool {
    object.len() == 2 && object.contains_key("bytes") && object.get("leftOut") == Some(&Value::Bool(true))
}

/// Size of `value` as BSON in bytes, without its name.
pub fn bson_size(value: &Value) -> usize {
    const NAME_AND_TYPE: usize = 2;
    const FRAME: usize = 5;
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(number) if number.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok()) => 4,
        Value::Number(_) => 8,
        Value::String(text) => FRAME + text.len(),
        Value::Array(items) => {
            let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
            let item = |(n, item)| NAME_AND_TYPE + digits(n) + bson_size(item);
            FRAME + items.iter().enumerate().map(item).sum::<usize>()
        }
        Value::Object(object) => {
            let field = |(name, value): (&String, _)| NAME_AND_TYPE + name.len() + bson_size(value);
            FRAME + object.iter().map(field).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mongodb::bson::Document;

    use super::*;
    use crate::domain::{
        call::CallPatch,
        event::{Envelope, Origin, Provider, parse},
    };

    fn split(body: &Value) -> (CallPatch, Option<Attachment>) {
        let (stored_at, origin) = (Timestamp::UNIX_EPOCH, Origin::Webhook(Provider::ElevenLabs));
        let envelope = Envelope::new("e1", stored_at, origin);
        CallPatch::split(parse(&envelope, body.to_string().as_bytes()).unwrap())
    }

    fn text(mib: usize) -> String {
        "y".repeat(mib * MIB)
    }

    fn is_left_out_value(value: &Value) -> bool {
        value.as_object().is_some_and(is_left_out)
    }

    #[test]
    fn size_is_the_length_of_the_value_in_bson() {
        let value = json!({ "a": null, "b": true, "c": 1, "d": 5_000_000_000_i64, "e": 1.5, "ü": "✓",
            "g": (0..1234).collect::<Vec<_>>(), "h": [], "i": { "j": [[{}]] } });
        let document: Document = crate::store::value_to_bson(&value).unwrap().as_document().unwrap().clone();
        assert_eq!(bson_size(&value), document.to_vec().unwrap().len());
    }

    #[test]
    fn values_above_their_bounds_are_left_out_and_the_rest_is_applied() {
        let turns = |mib| json!([{ "role": "agent", "message": text(mib) }]);
        let body = |transcript: Value, analysis: usize, metadata: usize| {
            json!({ "type": "post_call_transcription", "data": { "conversation_id": "v", "status": "done",
                "transcript": transcript, "analysis": { "x": text(analysis) },
                "metadata": { "phone_call": { "call_sid": "c" }, "x": text(metadata) } } })
        };
        #[rustfmt::skip]
        let table = [ // body, fields left out, whether the transcript is a file, whether the payload has its turns
            (body(turns(0), 0, 0), vec![],                                           false, true),
            (body(turns(3), 0, 0), vec![],                                           false, true),
            (body(turns(5), 0, 0), vec![],                                           true,  false),
            (body(turns(0), 3, 0), vec![Field::Analysis],                            false, true),
            (body(turns(2), 3, 0), vec![Field::Analysis],                            false, false),
            (body(turns(18), 5, 3), vec![Field::RawResponse, Field::Analysis, Field::Metadata], true, false),
        ];
        for (body, left_out, is_file, has_turns) in table {
            let (patch, file) = split(&body);
            let found: Vec<_> = patch
                .fields
                .iter()
                .filter(|(_, claim)| is_left_out_value(&claim.value))
                .map(|(f, _)| *f)
                .collect();
            assert_eq!(found, left_out);
            let transcript = &patch.fields[&Field::Transcript].value;
            assert_eq!((file.is_some(), transcript["fileId"] == "e1"), (is_file, is_file));
            assert_eq!(patch.fields[&Field::RawResponse].value["data"]["transcript"].is_array(), has_turns);
            assert_eq!(patch.status.unwrap().status, crate::domain::call::Status::Completed);
            let total: usize = patch.fields.values().map(|claim| bson_size(&claim.value)).sum();
            assert!(total < 13 * MIB);
        }
    }

    #[test]
    fn an_event_that_names_the_call_alone_has_small_bounds() {
        let body = |bytes| json!({ "event_type": "call.ended", "call_id": "c", "x": "y".repeat(bytes) });
        assert!(!is_left_out_value(&split(&body(MIB - 100)).0.fields[&Field::RawResponse].value));
        assert!(is_left_out_value(&split(&body(MIB)).0.fields[&Field::RawResponse].value));
        // JSON of two bytes an item is BSON of a dozen.
        let body = json!({ "event_type": "call.ended", "conversation_id": "v", "x": vec![1; 500_000] });
        assert!(is_left_out_value(&split(&body).0.fields[&Field::RawResponse].value));
    }
}
