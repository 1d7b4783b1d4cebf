//! The claims of each kind of event about its call: status, reason of a failure, values for the document.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::payload::{at_path, word};
use crate::domain::{
    call::{Field, Status, failure_reason},
    event::{kind::Kind, spelling::normalize},
    text::{MAX_REASON, cut},
};

/// Size in bytes of a body whose payload is stored without its turns. The field `transcript` holds the turns,
/// and both together would come near the 16 MiB of a document.
const LARGE_BODY: usize = 4 * 1024 * 1024;

/// The claims of one event about its call.
#[derive(Default)]
pub(super) struct Claims {
    /// The status, if the kind of event claims one.
    pub status: Option<Status>,
    /// The reason, if the status is a failure.
    pub failure_reason: Option<String>,
    /// Values for fields of the document.
    pub fields: BTreeMap<Field, Value>,
}

impl Claims {
    /// Reads the claims of an event. May move the turns out of `data`. `size` is the length of the body in
    /// bytes.
    pub(super) fn read(kind: Kind, data: &mut Map<String, Value>, size: usize) -> Self {
        match kind {
            Kind::Transcription => transcription(data, size),
            Kind::InitiationFailure => initiation_failure(data),
            Kind::MachineDetection => machine_detection(data),
            Kind::Audio => Self::default(),
        }
    }
}

/// `data` is the conversation as `GET /v1/convai/conversations/{id}` gives it, with its transcript.
fn transcription(data: &mut Map<String, Value>, size: usize) -> Claims {
    let call_result = at_path(data, &["metadata", "phone_call", "call_result"]).and_then(Value::as_str);
    let call_result = call_result.map(normalize);
    let failed =
        data.get("status").and_then(Value::as_str).is_some_and(|status| normalize(status) == "failed");
    let status = match call_result.as_deref() {
        Some("busy") => Status::Busy,
        Some("noanswer") => Status::NoAnswer,
        Some("failed") => Status::Failed,
        _ if failed => Status::Failed,
        _ => Status::Completed,
    };
    let mut fields = BTreeMap::new();
    if call_result.as_deref() == Some("voicemail") {
        fields.insert(Field::AnsweredBy, "voicemail".into());
    }
    for (field, name) in [(Field::Analysis, "analysis"), (Field::Metadata, "metadata")] {
        if let Some(value) = data.get(name).filter(|value| value.is_object()) {
            fields.insert(field, value.clone());
        }
    }
    let failure_reason = status.is_failure().then(|| {
        let error = at_path(data, &["metadata", "error", "reason"]);
        let reasons = [error, at_path(data, &["metadata", "termination_reason"])];
        let given = reasons.into_iter().flatten().filter_map(Value::as_str).map(str::trim);
        let given = given.filter(|reason| !reason.is_empty()).map(|reason| cut(reason, MAX_REASON)).next();
        given.unwrap_or_else(|| failure_reason(&Map::new(), status))
    });
    // The setting `exclude_transcript` may have emptied the list. An empty list is treated as missing, so
    // that the worker fetches the transcript.
    if data.get("transcript").and_then(Value::as_array).is_some_and(|turns| !turns.is_empty()) {
        let turns =
            if size > LARGE_BODY { data.remove("transcript") } else { data.get("transcript").cloned() };
        fields.extend(turns.map(|turns| (Field::Transcript, turns)));
    }
    Claims { status: Some(status), failure_reason, fields }
}

/// ElevenLabs gives `busy`, `no-answer` or `unknown` as `failure_reason`. `unknown` explains nothing, so the
/// words of Twilio or of the SIP trunk are added to it.
fn initiation_failure(data: &Map<String, Value>) -> Claims {
    let status = Status::InitiationFailed;
    let body = at_path(data, &["metadata", "body"]).and_then(Value::as_object);
    let mut reason = failure_reason(data, status);
    if let Some(detail) = body.and_then(failure_detail).filter(|_| reason == "unknown") {
        reason = cut(&format!("{reason}: {detail}"), MAX_REASON);
    }
    let fields = data.get("metadata").filter(|metadata| metadata.is_object());
    Claims {
        status: Some(status),
        failure_reason: Some(reason),
        fields: fields.map(|metadata| (Field::InitiationFailure, metadata.clone())).into_iter().collect(),
    }
}

/// The words and the SIP code that Twilio or a SIP trunk gives for a failure, in one line.
fn failure_detail(body: &Map<String, Value>) -> Option<String> {
    let text = |field: &str| match body.get(field)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let words = text("error_reason").or_else(|| text("sip_status")).or_else(|| text("CallStatus"));
    let code = text("sip_status_code").or_else(|| text("SipResponseCode"));
    match (words, code) {
        (Some(words), Some(code)) => Some(format!("{words} (SIP {code})")),
        (None, Some(code)) => Some(format!("SIP {code}")),
        (words, None) => words,
    }
}

/// ElevenLabs does not document this event. Known receivers of the event read these fields.
fn machine_detection(data: &Map<String, Value>) -> Claims {
    let answered_by =
        ["answered_by", "AnsweredBy", "result", "verdict"].into_iter().find_map(|field| word(data, field));
    Claims {
        fields: answered_by.map(|word| (Field::AnsweredBy, word.into())).into_iter().collect(),
        ..Claims::default()
    }
}

/// The `failure_reason` that ElevenLabs gives in its [`super::super::INITIATION_FAILURE`] event for a
/// telephone call with this `call_result`. `None` if the call was connected.
pub fn never_connected(call_result: &str) -> Option<&'static str> {
    match normalize(call_result).as_str() {
        "busy" => Some("busy"),
        "noanswer" => Some("no-answer"),
        "failed" => Some("unknown"),
        _ => None,
    }
}
