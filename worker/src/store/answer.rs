//! The answer of the status endpoint.

use serde_json::{Map, Value, json};

use super::{call_view::CallView, convert::bson_to_value};
use crate::domain::call::{Fact, size};

/// Fields of every answer. A field that the document does not have is null.
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
/// Fields that few calls have. A field that the document does not have is absent.
const OPTIONAL: [&str; 11] = [
    "outcome",
    "placementMetadata",
    "recordingState",
    "dynamicVariables",
    "parentCallId",
    "twilioAmd",
    "twilioConference",
    "twilioRecording",
    "twilioStream",
    "twilioTranscription",
    "twilioOther",
];

/// The answer of the status endpoint for `call`: every field of the document that is not internal.
pub fn answer_json(call: &CallView, stale: bool) -> Value {
    let document = call.document();
    let mut answer: Map<String, Value> = FIELDS
        .into_iter()
        .map(|field| (field.to_owned(), document.get(field).map_or(Value::Null, bson_to_value)))
        .collect();
    if let Some(id) = call.call_id() {
        answer.insert("callId".to_owned(), id.as_str().into());
    }
    let facts = Fact::ALL.into_iter().map(Fact::name);
    let optional = OPTIONAL.into_iter().chain(facts);
    let optional = optional.filter_map(|field| Some((field, document.get(field)?)));
    answer.extend(optional.map(|(field, value)| (field.to_owned(), bson_to_value(value))));
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
