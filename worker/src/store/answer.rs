//! The JSON of a call in answers and in outgoing events.
//!
//! [`call_json`] is the only place that turns a document into this JSON. A field that is not known is
//! absent; only [`answer_json`] adds it as null.

use std::iter;

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Value, json};

use super::{call_view::CallView, convert::bson_to_value};
use crate::domain::call::{Fact, size};

/// The fields before the facts, in the order of the JSON.
const BEFORE_FACTS: [&str; 7] =
    ["agentId", "agentPhoneNumberId", "toNumber", "status", "outcome", "failureReason", "answeredBy"];
/// The fields after the facts.
const AFTER_FACTS: [&str; 10] = [
    "dynamicVariables",
    "placementMetadata",
    "parentCallId",
    "transcriptState",
    "recordingState",
    "audio",
    "createdAt",
    "statusUpdatedAt",
    "updatedAt",
    "revision",
];
/// The fields of [`Include::payload`].
const PAYLOADS: [&str; 11] = [
    "rawResponse",
    "requestPayload",
    "analysis",
    "metadata",
    "initiationFailure",
    "twilioAmd",
    "twilioConference",
    "twilioRecording",
    "twilioStream",
    "twilioTranscription",
    "twilioOther",
];
/// The stored identifiers. The JSON shows `sharedCallId` as `callId`, and `_placementId` as `placementId`.
const STORED_IDS: [&str; 4] = ["callId", "sharedCallId", "conversationId", "_placementId"];
/// The fields of every answer of the status endpoint. A field that is not known is null there.
pub const STATUS_FIELDS: [&str; 20] = [
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

/// The large parts of a call that its JSON contains besides its other fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// The turns, or the reference to their file.
    pub transcript: bool,
    /// The payloads of webhooks, and ElevenLabs' analysis and metadata.
    pub payload: bool,
    /// The events.
    pub history: bool,
}

impl Include {
    /// No large part.
    pub const NONE: Self = Self { transcript: false, payload: false, history: false };
    /// Every part.
    pub const ALL: Self = Self { transcript: true, payload: true, history: true };

    /// The stored fields that [`call_json`] reads.
    pub(super) fn stored_fields(self) -> impl Iterator<Item = &'static str> {
        STORED_IDS.into_iter().chain(self.fields())
    }

    /// The fields that are in the JSON under their stored names.
    fn fields(self) -> impl Iterator<Item = &'static str> {
        let facts = Fact::ALL.into_iter().map(Fact::name);
        let large = iter::empty()
            .chain(self.transcript.then_some("transcript"))
            .chain(self.payload.then_some(PAYLOADS).into_iter().flatten())
            .chain(self.history.then_some("history"));
        BEFORE_FACTS.into_iter().chain(facts).chain(AFTER_FACTS).chain(large)
    }
}

/// The names of all fields that the JSON can have.
pub fn json_fields(include: Include) -> impl Iterator<Item = &'static str> {
    ["placementId", "callId", "conversationId"].into_iter().chain(include.fields()).chain(["leftOut"])
}

/// The projection of a query whose documents become this JSON.
pub(super) fn projection(include: Include) -> Document {
    include.stored_fields().map(|field| (field.to_owned(), Bson::Int32(1))).collect()
}

/// The JSON of `call`, without the large parts that `include` does not name. A field that is not known is
/// absent, and a time has three digits of milliseconds and `Z`.
///
/// `leftOut` lists the fields whose values were too large for the document.
pub fn call_json(call: &CallView, include: Include) -> Map<String, Value> {
    let document = call.document();
    let ids = [
        ("placementId", call.placement_id().map(|id| id.as_str().to_owned())),
        ("callId", call.call_id().map(|id| id.as_str().to_owned())),
        ("conversationId", call.conversation_id().map(|id| id.as_str().to_owned())),
    ];
    let ids = ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), id?.into())));
    let mut json: Map<String, Value> = ids.collect();
    for field in include.fields() {
        match document.get(field).map(bson_to_value) {
            None | Some(Value::Null) => {}
            Some(value) => drop(json.insert(field.to_owned(), value)),
        }
    }
    let left_out: Vec<_> = json
        .iter()
        .filter(|(_, value)| value.as_object().is_some_and(size::is_left_out))
        .map(|(name, _)| name.as_str())
        .collect();
    if !left_out.is_empty() {
        let left_out = json!(left_out);
        json.insert("leftOut".to_owned(), left_out);
    }
    json
}

/// The answer of the status endpoint for `call`: [`call_json`] with all parts, null for each field of [`STATUS_FIELDS`]
/// that is not known, and `stale`.
pub fn answer_json(call: &CallView, stale: bool) -> Value {
    let nulls = STATUS_FIELDS.into_iter().map(|field| (field.to_owned(), Value::Null));
    let mut answer: Map<String, Value> = nulls.collect();
    answer.extend(call_json(call, Include::ALL));
    answer.insert("stale".to_owned(), json!(stale));
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    fn call() -> CallView {
        CallView::new(doc! {
            "_id": 1, "_placementId": "p-1", "sharedCallId": "CA1", "conversationId": "conv_1",
            "status": "completed", "failureReason": Bson::Null, "durationSecs": 42_i64,
            "createdAt": DateTime::from_millis(1_790_000_000_000), "revision": 7_i64,
            "transcript": [{ "role": "agent", "message": Bson::Null }], "rawResponse": { "a": 1 },
            "history": [{ "status": "completed" }], "analysis": { "leftOut": true, "bytes": 9_000_000 },
        })
    }

    #[test]
    fn the_json_of_a_call_has_no_nulls_and_no_large_parts() {
        let expected = json!({
            "placementId": "p-1", "callId": "CA1", "conversationId": "conv_1", "status": "completed",
            "durationSecs": 42, "createdAt": "2026-09-21T14:13:20.000Z", "revision": 7,
        });
        assert_eq!(Value::Object(call_json(&call(), Include::NONE)), expected);
    }

    #[test]
    fn large_parts_are_included_by_name() {
        let parts = ["transcript", "rawResponse", "analysis", "history"];
        let included = |include| {
            let json = call_json(&call(), include);
            parts.map(|part| json.contains_key(part))
        };
        let only = Include::NONE;
        assert_eq!(included(Include { transcript: true, ..only }), [true, false, false, false]);
        assert_eq!(included(Include { payload: true, ..only }), [false, true, true, false]);
        assert_eq!(included(Include { history: true, ..only }), [false, false, false, true]);
        assert_eq!(call_json(&call(), Include::ALL)["leftOut"], json!(["analysis"]));
    }

    #[test]
    fn the_answer_of_the_status_endpoint_has_null_for_what_is_not_known() {
        let answer = answer_json(&call(), true);
        assert_eq!((answer.get("failureReason"), &answer["stale"]), (Some(&Value::Null), &json!(true)));
        assert_eq!((&answer["callId"], answer.get("outcome")), (&json!("CA1"), None));
    }
}
