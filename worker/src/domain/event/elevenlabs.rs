//! ElevenLabs' own envelope: `{"type": …, "event_timestamp": …, "data": {…}}`.
//!
//! Its documentation (page "Post-call webhooks") names the fields; more appear without notice, so
//! whatever is not understood is passed over, and only an event that names no call is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    CallId, ConversationId, Envelope, Event, ParseError, Parties, PlacementId, identifier, names::Names,
    recording, shape::Place, time, to_millis, words::fold,
};
use crate::domain::{
    call::{Field, Status, failure_reason},
    text::{MAX_PARTY, MAX_REASON, MAX_WORD, cut},
};

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
    const ALL: [Self; 4] =
        [Self::Transcription, Self::Audio, Self::InitiationFailure, Self::MachineDetection];

    /// The kind of this event word.
    pub(super) fn exact(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The kind that an event word names, written in any of the usual ways.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        let word = fold(word);
        Self::ALL.into_iter().find(|kind| fold(kind.as_str()) == word)
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
    place: Place,
    mut raw: Map<String, Value>,
    size: usize,
) -> Result<Event, ParseError> {
    let when = time::of_event(envelope, raw.get("event_timestamp"));
    let data = match place {
        Place::Data => raw.get_mut("data").and_then(Value::as_object_mut),
        Place::Top => Some(&mut raw),
    };
    let data = data.ok_or_else(|| ParseError::NoIdentifier(Names::default()))?;
    let conversation_id = identifier::text(data, "conversation_id")?.map(ConversationId::new).transpose()?;
    let call_id = call_id(data);
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier(Names::of(&raw)));
    }
    let recording = if kind == Kind::Audio { recording::take(data, "full_audio")? } else { None };
    let claims = match kind {
        Kind::Transcription => transcription(data, size),
        Kind::InitiationFailure => initiation_failure(data),
        Kind::MachineDetection => machine_detection(data),
        Kind::Audio => Claims::default(),
    };
    let (placement_id, parties, received_status) = (placement_id(data), parties(data), word(data, "status"));
    let began_at = time::of_begin(envelope, at_path(data, &["metadata", "start_time_unix_secs"]));
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
        parent_call_id: None,
        parties,
        at: when.at,
        time_ignored: when.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at,
        is_leg: false,
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
    let call_result = call_result.map(fold);
    let failed = data.get("status").and_then(Value::as_str).is_some_and(|status| fold(status) == "failed");
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
        reason = cut(&format!("{reason}: {detail}"), MAX_REASON);
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
    PATHS.into_iter().find_map(|path| identifier::lenient(at_path(data, path)?, CallId::new))
}

fn placement_id(data: &Map<String, Value>) -> Option<PlacementId> {
    let path = ["conversation_initiation_client_data", "dynamic_variables", PLACEMENT_VARIABLE];
    PlacementId::new(at_path(data, &path)?.as_str()?).ok()
}

fn parties(data: &Map<String, Value>) -> Parties {
    // The documentation calls SIP's numbers numbers.
    let text = |path: &[&str]| party(at_path(data, path)?);
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

/// A number, a name or an id of who takes part, cut; nothing for what is empty.
pub(super) fn party(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            Some(text.trim()).filter(|text| !text.is_empty()).map(|text| cut(text, MAX_PARTY))
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn word(data: &Map<String, Value>, field: &str) -> Option<String> {
    data.get(field).and_then(Value::as_str).map(|word| cut(word, MAX_WORD))
}

fn at_path<'a>(data: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(data.get(*first)?, |value, step| value.get(step))
}

/// The `failure_reason` of the [`INITIATION_FAILURE`] that belongs to a conversation whose telephone
/// call ended like this; `None` for calls that connected.
pub fn never_connected(call_result: &str) -> Option<&'static str> {
    match fold(call_result).as_str() {
        "busy" => Some("busy"),
        "noanswer" => Some("no-answer"),
        "failed" => Some("unknown"),
        _ => None,
    }
}
