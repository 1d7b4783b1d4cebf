//! Between BSON documents and our values.

use jiff::Timestamp;
use mongodb::bson::{Bson, DateTime, Document, RawArrayBuf, RawBson, RawDocumentBuf, raw::CStr};
use serde_json::{Map, Value, json};

use super::{Key, Placing, of_call};
use crate::domain::{
    call::{
        CallPatch, Field, FieldClaim, HistoryEntry, Placement, Status, StatusClaim, TranscriptState, size,
    },
    event::{CallId, ConversationId, Parties, PlacementId},
    time::rfc3339,
};

/// A BSON date: milliseconds.
pub fn bson_date(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millisecond())
}

/// JSON as BSON, value for value; `None` where a field name holds a NUL, which BSON cannot express.
/// Whole numbers beyond 64 bits become floating point, as most JSON readers make them.
pub(super) fn json_to_bson(object: &Map<String, Value>) -> Option<Document> {
    object
        .iter()
        .map(|(name, value)| Some((name.clone(), value_to_bson(value)?)).filter(|_| !name.contains('\0')))
        .collect()
}

/// JSON as BSON, value for value; `None` where a field name holds a NUL.
pub fn value_to_bson(value: &Value) -> Option<Bson> {
    Some(match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => Bson::Boolean(*truth),
        Value::Number(number) => number.as_i64().map_or_else(
            || Bson::Double(number.as_f64().unwrap_or(f64::MAX)),
            |whole| i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
        ),
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(value_to_bson).collect::<Option<_>>()?),
        Value::Object(object) => Bson::Document(json_to_bson(object)?),
    })
}

/// JSON as raw BSON, as [`json_to_bson`] makes it but without a tree of it in between.
pub(super) fn json_to_raw(object: &Map<String, Value>) -> Option<RawDocumentBuf> {
    let mut document = RawDocumentBuf::new();
    for (name, value) in object {
        append_value(&mut document, name, value)?;
    }
    Some(document)
}

/// Appends a field; `None` where a name in it holds a NUL.
pub(super) fn append_value(document: &mut RawDocumentBuf, name: &str, value: &Value) -> Option<()> {
    let name: &CStr = name.try_into().ok()?;
    match value {
        Value::String(text) => document.append(name, text.as_str()),
        Value::Array(items) => document.append(name, array_to_raw(items)?),
        Value::Object(object) => document.append(name, json_to_raw(object)?),
        plain => document.append(name, RawBson::try_from(value_to_bson(plain)?).ok()?),
    }
    Some(())
}

fn array_to_raw(items: &[Value]) -> Option<RawArrayBuf> {
    let mut array = RawArrayBuf::new();
    for item in items {
        match item {
            Value::String(text) => array.push(text.as_str()),
            Value::Array(items) => array.push(array_to_raw(items)?),
            Value::Object(object) => array.push(json_to_raw(object)?),
            plain => array.push(RawBson::try_from(value_to_bson(plain)?).ok()?),
        }
    }
    Some(array)
}

pub(super) fn bson_to_value(bson: &Bson) -> Value {
    match bson {
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Boolean(truth) => (*truth).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => (*number).into(),
        Bson::String(text) => text.as_str().into(),
        Bson::Array(items) => items.iter().map(bson_to_value).collect(),
        Bson::Document(document) => document_to_json(document).into(),
        Bson::DateTime(date) => {
            Timestamp::from_millisecond(date.timestamp_millis()).map_or(Value::Null, |t| rfc3339(t).into())
        }
        other => other.to_string().into(), // No payload becomes any other type; an operator may have stored one.
    }
}

pub(super) fn document_to_json(document: &Document) -> Map<String, Value> {
    document.iter().map(|(name, value)| (name.clone(), bson_to_value(value))).collect()
}

/// A stored call.
#[derive(Clone, Debug)]
pub struct CallView {
    document: Document,
}

impl CallView {
    pub(super) fn new(document: Document) -> Self {
        Self { document }
    }

    /// Its status; `None` for a document that this version does not understand.
    pub fn status(&self) -> Option<Status> {
        Status::from_word(self.document.get_str("status").ok()?)
    }

    /// When anything about it was last learned.
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.time("updatedAt")
    }

    /// Its conversation, where known.
    pub fn conversation_id(&self) -> Option<ConversationId> {
        ConversationId::new(self.document.get_str("conversationId").ok()?).ok()
    }

    /// Its call id, where known.
    pub fn call_id(&self) -> Option<CallId> {
        self.answered_call_id().or_else(|| self.shared_call_id())
    }

    /// Its call id, if the call is found by it here.
    fn answered_call_id(&self) -> Option<CallId> {
        CallId::new(self.document.get_str("callId").ok()?).ok()
    }

    /// Its call id, if the call has several conversations.
    pub fn shared_call_id(&self) -> Option<CallId> {
        CallId::new(self.document.get_str("sharedCallId").ok()?).ok()
    }

    /// Our id of its placement, where it was placed through us.
    pub fn placement_id(&self) -> Option<PlacementId> {
        PlacementId::new(self.document.get_str("_placementId").ok()?).ok()
    }

    /// How far its placement is, where it was placed through us.
    pub fn placing(&self) -> Option<Placing> {
        Placing::read(&self.document)
    }

    /// Whether its transcript has been asked for and not arrived.
    pub fn owes_transcript(&self) -> bool {
        self.document.get_str("transcriptState").is_ok_and(|state| state == "owed")
    }

    /// Since when its transcript is owed.
    pub fn owed_since(&self) -> Option<Timestamp> {
        self.time("_owedSince")
    }

    /// The file with its turns, if the document has no room for them, and the size of it.
    pub fn transcript_file(&self) -> Option<(String, u64)> {
        let file = self.document.get_document("transcript").ok()?;
        let bytes = match file.get("bytes")? {
            Bson::Int32(bytes) => u64::try_from(*bytes).ok()?,
            Bson::Int64(bytes) => u64::try_from(*bytes).ok()?,
            _ => return None,
        };
        Some((file.get_str("fileId").ok()?.to_owned(), bytes))
    }

    /// What it is found by.
    pub(super) fn keys(&self) -> Vec<Key> {
        let ids = [
            self.answered_call_id().map(Key::Call),
            self.conversation_id().map(Key::Conversation),
            self.placement_id().map(Key::Placement),
        ];
        ids.into_iter().flatten().collect()
    }

    /// The statuses that its events claim, as far as its history goes back.
    pub(super) fn claims(&self) -> Vec<StatusClaim> {
        let entries = self.document.get_array("history").map(Vec::as_slice).unwrap_or_default();
        let claim = |entry: HistoryEntry| {
            let status = Status::from_word(entry.status.as_deref()?)?;
            Some(StatusClaim { status, at: entry.at, event_id: entry.event_id, failure_reason: None })
        };
        entries.iter().filter_map(history_entry).filter_map(claim).collect()
    }

    /// `_id`, to tell documents apart.
    pub(super) fn key(&self) -> Option<&Bson> {
        self.document.get("_id")
    }

    /// The whole document as a patch, for joining it with another.
    pub(super) fn to_patch(&self) -> Option<CallPatch> {
        let mut call = claims(&self.document)?;
        let history = self.document.get_array("history").ok();
        call.history =
            history.map(|entries| entries.iter().filter_map(history_entry).collect()).unwrap_or_default();
        call.call_id = self.call_id();
        call.conversation_id = self.conversation_id();
        call.placement = self.placement_id().map(|id| {
            let request = self.document.get_document("requestPayload").ok();
            Placement { id, request: request.map(document_to_json) }
        });
        if call.is_linked() {
            call.of_call = of_call::read(&self.document).and_then(claims).map(|mut part| {
                part.call_id.clone_from(&call.call_id);
                part.history = call.history.iter().filter(|entry| entry.of_call).cloned().collect();
                Box::new(part)
            });
        }
        Some(call)
    }

    /// All of it.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        date(&self.document, field)
    }
}

/// What is claimed by the fields of `call`, which names nobody.
fn claims(call: &Document) -> Option<CallPatch> {
    let text = |field: &str| call.get_str(field).ok().map(str::to_owned);
    Some(CallPatch {
        call_id: None,
        conversation_id: None,
        placement: None,
        parties: Parties {
            agent_id: text("agentId"),
            agent_phone_number_id: text("agentPhoneNumberId"),
            to_number: text("toNumber"),
        },
        status: status_claim(call),
        fields: Field::ALL.into_iter().filter_map(|field| Some((field, field_claim(call, field)?))).collect(),
        history: Vec::new(),
        transcript: call.get_str("transcriptState").ok().and_then(transcript_state),
        owed_since: date(call, "_owedSince"),
        parent_call_id: text("parentCallId").and_then(|id| CallId::new(id).ok()),
        leg_ended: date(call, "_legEnded"),
        created_at: date(call, "createdAt")?,
        // Documents of earlier versions do not say.
        first_stored: date(call, "_storedAt").or_else(|| date(call, "createdAt"))?,
        updated_at: date(call, "updatedAt")?,
        of_call: None,
    })
}

fn status_claim(call: &Document) -> Option<StatusClaim> {
    Some(StatusClaim {
        status: Status::from_word(call.get_str("status").ok()?)?,
        at: date(call, "statusUpdatedAt")?,
        event_id: call.get_document("_status").ok()?.get_str("eventId").ok()?.to_owned(),
        failure_reason: call.get_str("failureReason").ok().map(str::to_owned),
    })
}

fn field_claim(call: &Document, field: Field) -> Option<FieldClaim> {
    let key = call.get_document(field.key_name()).ok()?;
    Some(FieldClaim {
        at: date(key, "at")?,
        event_id: key.get_str("eventId").ok()?.to_owned(),
        value: bson_to_value(call.get(field.name())?),
    })
}

pub(super) fn date(document: &Document, field: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(document.get_datetime(field).ok()?.timestamp_millis()).ok()
}

fn transcript_state(word: &str) -> Option<TranscriptState> {
    use TranscriptState::{Owed, Saved, Unavailable};
    [Owed, Unavailable, Saved].into_iter().find(|state| state.as_str() == word)
}

pub(super) fn history_entry(entry: &Bson) -> Option<HistoryEntry> {
    let entry = entry.as_document()?;
    let text = |field: &str| entry.get_str(field).ok().map(str::to_owned);
    Some(HistoryEntry {
        event_id: entry.get_str("eventId").ok()?.to_owned(),
        event_type: entry.get_str("eventType").ok()?.to_owned(),
        status: text("status"),
        received_status: text("receivedStatus"),
        origin: text("origin"),
        signature: text("signature"),
        at: date(entry, "at")?,
        time_ignored: entry.get_bool("timeIgnored").unwrap_or(false),
        stored_at: date(entry, "storedAt"),
        of_call: entry.get_bool("ofCall").unwrap_or(false),
    })
}

/// What the status endpoint answers for `call`. Fields that begin with `_` are ours.
pub fn answer_json(call: &CallView, stale: bool) -> Value {
    const FIELDS: [&str; 20] = [
        "callId",
        "conversationId",
        "status",
        "failureReason",
        "rawResponse",
        "transcript",
        "transcriptState",
        "analysis",
        "metadata",
        "answeredBy",
        "initiationFailure",
        "audio",
        "requestPayload",
        "agentId",
        "agentPhoneNumberId",
        "toNumber",
        "history",
        "createdAt",
        "statusUpdatedAt",
        "updatedAt",
    ];
    /// Fields that few calls have: absent where there is nothing.
    const SELDOM: [&str; 7] = [
        "parentCallId",
        "twilioAmd",
        "twilioConference",
        "twilioRecording",
        "twilioStream",
        "twilioTranscription",
        "twilioOther",
    ];
    let mut answer: Map<String, Value> = FIELDS
        .into_iter()
        .map(|field| (field.to_owned(), call.document.get(field).map_or(Value::Null, bson_to_value)))
        .collect();
    if let Some(id) = call.call_id() {
        answer.insert("callId".to_owned(), id.as_str().into());
    }
    let seldom = SELDOM.into_iter().filter_map(|field| Some((field, call.document.get(field)?)));
    answer.extend(seldom.map(|(field, value)| (field.to_owned(), bson_to_value(value))));
    if let Some(id) = call.placement_id() {
        answer.insert("placementId".to_owned(), id.as_str().into());
    }
    let left_out: Vec<_> = FIELDS.into_iter().filter(|field| size::is_left_out(&answer[*field])).collect();
    if !left_out.is_empty() {
        answer.insert("leftOut".to_owned(), json!(left_out));
    }
    answer.insert("stale".to_owned(), json!(stale));
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_through_bson() {
        let payload = json!({
            "a": null, "b": true, "c": 1, "d": 5_000_000_000_i64, "e": 1.5, "f": "$x", "g": [1, [2], {}],
            "$date": "not a date", "h.i": { "$oid": "text" }, "ü": "✓",
        });
        let object = payload.as_object().unwrap();
        assert_eq!(&document_to_json(&json_to_bson(object).unwrap()), object);
        let raw = Document::try_from(json_to_raw(object).unwrap()).unwrap();
        assert_eq!(raw, json_to_bson(object).unwrap(), "by either way");
    }

    #[test]
    fn what_bson_cannot_hold_is_said_and_not_made_up() {
        let nul = json!({ "a": [{ "b\u{0}": 1 }] });
        assert_eq!((value_to_bson(&nul), json_to_raw(nul.as_object().unwrap())), (None, None));
        assert_eq!(value_to_bson(&json!(u64::MAX)), Some(Bson::Double(18_446_744_073_709_551_615.0)));
    }
}
