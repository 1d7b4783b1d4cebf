//! ElevenLabs' own envelope: `{"type": …, "event_timestamp": …, "data": {…}}`.
//!
//! Its documentation (page "Post-call webhooks") names the fields; more appear without notice, so
//! whatever is not understood is passed over, and only an event that names no call is refused.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    CallId, ConversationId, Envelope, Event, ParseError, Parties, PlacementId, Recording, cut, identifier,
    time, to_millis,
};
use crate::call::{Field, Status, failure_reason};

/// Type of the event that a conversation is over and analysed.
pub const TRANSCRIPTION: &str = "post_call_transcription";
/// Type of the event that an outbound call never connected.
pub const INITIATION_FAILURE: &str = "call_initiation_failure";
/// The dynamic variable by which a call placed through us carries its placement's id.
pub const PLACEMENT_VARIABLE: &str = "aftercall_placement_id";

/// Body from which on a payload is kept without its turns, which are in `transcript` anyway: both
/// together would come near the 16 MiB of a document.
const LARGE: usize = 4 * 1024 * 1024;

/// The events of the envelope that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `post_call_transcription`
    Transcription,
    /// `post_call_audio`
    Audio,
    /// `call_initiation_failure`
    InitiationFailure,
    /// `answering_machine_detection`, whose payload is not documented.
    MachineDetection,
}

impl Kind {
    /// The kind of an envelope; `None` for any other body.
    pub(super) fn of(raw: &Map<String, Value>) -> Option<Self> {
        raw.get("data")?.as_object()?;
        let word = ["type", "event_type"].into_iter().find_map(|field| raw.get(field)?.as_str())?;
        [Self::Transcription, Self::Audio, Self::InitiationFailure, Self::MachineDetection]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Transcription => TRANSCRIPTION,
            Self::Audio => "post_call_audio",
            Self::InitiationFailure => INITIATION_FAILURE,
            Self::MachineDetection => "answering_machine_detection",
        }
    }
}

/// Turns an envelope of `size` bytes into an event.
pub(super) fn event(
    envelope: &Envelope,
    kind: Kind,
    mut raw: Map<String, Value>,
    size: usize,
) -> Result<Event, ParseError> {
    let own_time = raw.get("event_timestamp").and_then(time::read);
    let data = raw.get_mut("data").and_then(Value::as_object_mut).ok_or(ParseError::NoIdentifier)?;
    let conversation_id = identifier::text(data, "conversation_id")?.map(ConversationId::new).transpose()?;
    let call_id = call_id(data);
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier);
    }
    let recording = if kind == Kind::Audio { recording(data)? } else { None };
    let claims = match kind {
        Kind::Transcription => transcription(data, size),
        Kind::InitiationFailure => initiation_failure(data),
        Kind::MachineDetection => machine_detection(data),
        Kind::Audio => Claims::default(),
    };
    let (placement_id, parties, received_status) = (placement_id(data), parties(data), word(data, "status"));
    let began_at = at_path(data, &["metadata", "start_time_unix_secs"]).and_then(time::read).map(to_millis);
    let mut fields = claims.fields;
    if let Some(recording) = &recording {
        // Its file has the name of the event, so that a repetition is the same file.
        let audio =
            json!({ "fileId": &envelope.id, "bytes": recording.0.len(), "contentType": "audio/mpeg" });
        fields.insert(Field::Audio, audio);
    }
    fields.insert(Field::RawResponse, Value::Object(raw));
    Ok(Event {
        id: envelope.id.clone(),
        event_type: kind.as_str(),
        origin: envelope.origin,
        signature: envelope.signature.clone(),
        status: claims.status,
        received_status,
        failure_reason: claims.failure_reason,
        call_id,
        conversation_id,
        placement_id,
        parties,
        at: to_millis(own_time.unwrap_or(envelope.stored_at)),
        stored_at: to_millis(envelope.stored_at),
        began_at: began_at.filter(|began| *began > Timestamp::UNIX_EPOCH),
        fields,
        recording,
    })
}

/// What one kind of event claims.
#[derive(Default)]
struct Claims {
    status: Option<Status>,
    failure_reason: Option<String>,
    fields: BTreeMap<Field, Value>,
}

/// The conversation as `GET /v1/convai/conversations/{id}` gives it, and so its transcript.
fn transcription(data: &mut Map<String, Value>, size: usize) -> Claims {
    let call_result = at_path(data, &["metadata", "phone_call", "call_result"]).and_then(Value::as_str);
    let failed = data.get("status").and_then(Value::as_str) == Some("failed");
    let status = match call_result {
        Some("busy") => Status::Busy,
        Some("no_answer") => Status::NoAnswer,
        Some("failed") => Status::Failed,
        _ if failed => Status::Failed,
        _ => Status::Completed,
    };
    let mut fields = BTreeMap::new();
    if call_result == Some("voicemail") {
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
        let given = given.filter(|reason| !reason.is_empty()).map(str::to_owned).next();
        given.unwrap_or_else(|| failure_reason(&Map::new(), status))
    });
    // An empty one may have been left out by `exclude_transcript`: it is asked for, like a missing one.
    if data.get("transcript").and_then(Value::as_array).is_some_and(|turns| !turns.is_empty()) {
        let turns = if size > LARGE { data.remove("transcript") } else { data.get("transcript").cloned() };
        fields.extend(turns.map(|turns| (Field::Transcript, turns)));
    }
    Claims { status: Some(status), failure_reason, fields }
}

/// `failure_reason` is `busy`, `no-answer` or `unknown` so far, which for `unknown` says little: what
/// Twilio or the trunk said is added.
fn initiation_failure(data: &Map<String, Value>) -> Claims {
    let status = Status::InitiationFailed;
    let body = at_path(data, &["metadata", "body"]).and_then(Value::as_object);
    let mut reason = failure_reason(data, status);
    if let Some(detail) = body.and_then(failure_detail).filter(|_| reason == "unknown") {
        reason = format!("{reason}: {detail}");
    }
    let fields = data.get("metadata").filter(|metadata| metadata.is_object());
    Claims {
        status: Some(status),
        failure_reason: Some(reason),
        fields: fields.map(|metadata| (Field::InitiationFailure, metadata.clone())).into_iter().collect(),
    }
}

/// What a SIP trunk or Twilio says of a failure, in one line.
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

/// Looks where those who receive this undocumented event look for its verdict.
fn machine_detection(data: &Map<String, Value>) -> Claims {
    let verdict =
        ["answered_by", "AnsweredBy", "result", "verdict"].into_iter().find_map(|field| word(data, field));
    Claims {
        fields: verdict.map(|verdict| (Field::AnsweredBy, verdict.into())).into_iter().collect(),
        ..Claims::default()
    }
}

/// Takes the recording out of the payload.
fn recording(data: &mut Map<String, Value>) -> Result<Option<Recording>, ParseError> {
    match data.remove("full_audio") {
        Some(Value::String(audio)) if !audio.is_empty() => {
            let audio = BASE64_STANDARD.decode(audio.trim()).map_err(|_error| ParseError::InvalidAudio)?;
            Ok(Some(Recording(audio.into())))
        }
        Some(Value::Null | Value::String(_)) | None => Ok(None),
        Some(_) => Err(ParseError::InvalidAudio),
    }
}

/// The telephony id, from wherever the kinds of events keep it. The conversation names the call
/// already, so a text that cannot be an id is no reason to refuse the event.
fn call_id(data: &Map<String, Value>) -> Option<CallId> {
    const PATHS: [&[&str]; 8] = [
        &["metadata", "phone_call", "call_sid"],
        &["metadata", "body", "CallSid"],
        &["metadata", "body", "call_sid"],
        &["metadata", "phone_call", "call_id"],
        &["conversation_initiation_client_data", "dynamic_variables", "system__call_sid"],
        &["call_sid"],
        &["CallSid"],
        &["call_id"],
    ];
    let texts = PATHS.into_iter().filter_map(|path| at_path(data, path)?.as_str()).map(str::trim);
    texts.filter(|text| !text.is_empty()).find_map(|text| CallId::new(text).ok())
}

fn placement_id(data: &Map<String, Value>) -> Option<PlacementId> {
    let path = ["conversation_initiation_client_data", "dynamic_variables", PLACEMENT_VARIABLE];
    PlacementId::new(at_path(data, &path)?.as_str()?).ok()
}

fn parties(data: &Map<String, Value>) -> Parties {
    let text = |path: &[&str]| match at_path(data, path)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()), // The documentation calls SIP's numbers numbers.
        _ => None,
    };
    let inbound =
        at_path(data, &["metadata", "phone_call", "direction"]).and_then(Value::as_str) == Some("inbound");
    let callee = if inbound { "agent_number" } else { "external_number" };
    Parties {
        agent_id: text(&["agent_id"]),
        agent_phone_number_id: text(&["metadata", "phone_call", "phone_number_id"]),
        to_number: text(&["metadata", "phone_call", callee])
            .or_else(|| text(&["metadata", "body", "To"]))
            .or_else(|| text(&["metadata", "body", "Called"]))
            .or_else(|| text(&["metadata", "body", "to_number"])),
    }
}

fn word(data: &Map<String, Value>, field: &str) -> Option<String> {
    data.get(field).and_then(Value::as_str).map(cut)
}

fn at_path<'a>(data: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(data.get(*first)?, |value, step| value.get(step))
}

/// The `failure_reason` of the [`INITIATION_FAILURE`] that belongs to a conversation whose telephone
/// call ended like this; `None` for calls that connected.
pub fn never_connected(call_result: &str) -> Option<&'static str> {
    match call_result {
        "busy" => Some("busy"),
        "no_answer" => Some("no-answer"),
        "failed" => Some("unknown"),
        _ => None,
    }
}
