//! The claims of each kind of event about its call: status, reason of a failure, values for the document.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    facts::dynamic_variables,
    payload::{at_path, call_result, never_connected, sip_code, text, word},
};
use crate::domain::{
    call::{Evidence, Field, Outcome, Status, failure_reason, outcome, sip_phrase},
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
    /// How the call turned out, if the event says something about it.
    pub outcome: Option<Outcome>,
    /// Values for fields of the document.
    pub fields: BTreeMap<Field, Value>,
    /// Whether a conversation may have taken place and is over.
    pub ends_conversation: bool,
}

impl Claims {
    /// Reads the claims of an event. May move the turns out of `data`. `size` is the length of the body in
    /// bytes.
    pub(super) fn read(kind: Kind, data: &mut Map<String, Value>, size: usize) -> Self {
        match kind {
            Kind::Transcription => transcription(data, size),
            Kind::InitiationFailure => initiation_failure(data),
            Kind::MachineDetection => machine_detection(data),
            Kind::TranscriptionTrace => Self {
                status: Some(Status::Completed),
                outcome: Outcome::of_status(Status::Completed),
                ends_conversation: true,
                ..Self::default()
            },
            Kind::Audio => Self::default(),
        }
    }
}

/// `data` is the conversation as `GET /v1/convai/conversations/{id}` gives it, with its transcript.
fn transcription(data: &mut Map<String, Value>, size: usize) -> Claims {
    let call_result = call_result(data);
    let failed =
        data.get("status").and_then(Value::as_str).is_some_and(|status| normalize(status) == "failed");
    let status = match call_result.as_deref() {
        Some("busy") => Status::Busy,
        Some("noanswer") => Status::NoAnswer,
        Some("failed") => Status::Failed,
        _ if failed => Status::Failed,
        _ => Status::Completed,
    };
    let outcome = conversation_outcome(data, status);
    let mut fields = BTreeMap::new();
    fields.extend(dynamic_variables(data).map(|variables| (Field::DynamicVariables, variables)));
    if call_result.as_deref() == Some("voicemail") {
        fields.insert(Field::AnsweredBy, "voicemail".into());
    }
    for (field, name) in [(Field::Analysis, "analysis"), (Field::Metadata, "metadata")] {
        if let Some(value) = data.get(name).filter(|value| value.is_object()) {
            fields.insert(field, value.clone());
        }
    }
    let failure_reason = status.is_failure().then(|| {
        let given = given_reason(data).map(|reason| cut(reason, MAX_REASON));
        given.unwrap_or_else(|| failure_reason(&Map::new(), status))
    });
    // The setting `exclude_transcript` may have emptied the list. An empty list is treated as missing, so
    // that the worker fetches the transcript.
    if data.get("transcript").and_then(Value::as_array).is_some_and(|turns| !turns.is_empty()) {
        let turns =
            if size > LARGE_BODY { data.remove("transcript") } else { data.get("transcript").cloned() };
        fields.extend(turns.map(|turns| (Field::Transcript, turns)));
    }
    // A conversation that failed may have turns too. Without a connection there was no conversation.
    let ends_conversation = !never_connected(data);
    Claims { status: Some(status), failure_reason, outcome, fields, ends_conversation }
}

/// How the call of a conversation turned out, if its status is `status`.
pub(super) fn conversation_outcome(conversation: &Map<String, Value>, status: Status) -> Option<Outcome> {
    let result = call_result(conversation);
    outcome(&Evidence { status: Some(status), result, ..Evidence::default() })
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
    let words = [data.get("failure_reason"), body.and_then(|body| body.get("CallStatus"))];
    let words = words.into_iter().flatten().filter_map(Value::as_str).map(normalize);
    Claims {
        status: Some(status),
        failure_reason: Some(reason),
        outcome: outcome(&Evidence {
            status: Some(status),
            result: words.into_iter().find(|word| word != "unknown"),
            sip_code: body.and_then(sip_code),
            answered_by: None,
        }),
        fields: fields.map(|metadata| (Field::InitiationFailure, metadata.clone())).into_iter().collect(),
        ends_conversation: false,
    }
}

/// The words and the SIP code that Twilio or a SIP trunk gives for a failure, in one line. Twilio has a `CallStatus`
/// alone, and `failed` says less than the phrase of the code.
fn failure_detail(body: &Map<String, Value>) -> Option<String> {
    let code = sip_code(body);
    let phrase = || code.as_deref().and_then(sip_phrase).map(str::to_owned);
    let words = text(body, "error_reason").or_else(|| text(body, "sip_status"));
    let status = || text(body, "CallStatus");
    let words = words.or_else(|| status().filter(|word| word != "failed")).or_else(phrase).or_else(status);
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
        outcome: outcome(&Evidence {
            answered_by: answered_by.as_deref().map(normalize),
            ..Evidence::default()
        }),
        fields: answered_by.map(|word| (Field::AnsweredBy, word.into())).into_iter().collect(),
        ..Claims::default()
    }
}

/// Why the conversation failed, if ElevenLabs gives a reason.
pub fn given_reason(conversation: &Map<String, Value>) -> Option<&str> {
    let paths: [&[&str]; 2] = [&["metadata", "error", "reason"], &["metadata", "termination_reason"]];
    let reasons = paths.into_iter().filter_map(|path| at_path(conversation, path)?.as_str()).map(str::trim);
    reasons.into_iter().find(|reason| !reason.is_empty())
}
