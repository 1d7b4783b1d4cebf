//! ElevenLabs' own envelope: `{"type": …, "event_timestamp": …, "data": {…}}`.
//!
//! ElevenLabs documents the fields on the page "Post-call webhooks" and adds more without notice. So the
//! parser ignores fields that it does not know, and refuses only an event that names no call.

mod claims;
mod connection;
mod facts;
mod payload;
mod times;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{
    claims::Claims,
    connection::Connection,
    payload::{at_path, word},
};
pub use self::{
    claims::given_reason,
    connection::{channel, channel_of_source},
    payload::{PLACEMENT_VARIABLE, never_connected},
    times::ConversationTimes,
};
use super::{
    call_event::Event,
    envelope::{Envelope, Origin},
    error::ParseError,
    field_names::FieldNames,
    identifier::{self, CallId, ConversationId, PlacementId},
    kind::Kind,
    parties::{self, Parties},
    recording,
    shape::Location,
    time::{self, to_millis},
};
use crate::domain::call::{Facts, Field, Outcome, Status};

/// Turns the body of an envelope into an event. `size` is the length of the body in bytes.
///
/// # Errors
/// The body names no call, an identifier cannot be used, or the recording is not base64.
pub(super) fn event(
    envelope: &Envelope,
    kind: Kind,
    location: Location,
    mut raw: Map<String, Value>,
    size: usize,
) -> Result<Event, ParseError> {
    let event_time = time::of_event(envelope, raw.get("event_timestamp"));
    let data = match location {
        Location::Data => raw.get_mut("data").and_then(Value::as_object_mut),
        Location::Top => Some(&mut raw),
    };
    let data = data.ok_or_else(|| ParseError::NoIdentifier(FieldNames::default()))?;
    let conversation_id = identifier::read(data, "conversation_id")?.map(ConversationId::new).transpose()?;
    let call_id = call_id(data);
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier(FieldNames::of(&raw)));
    }
    let recording = if kind == Kind::Audio { recording::take(data, "full_audio")? } else { None };
    let has_audio = kind == Kind::Transcription && has_audio(data);
    let claims = Claims::read(kind, data, size);
    let (placement_id, parties, received_status) = (placement_id(data), parties(data), word(data, "status"));
    let times = ConversationTimes::read(data, |value| time::of_begin(envelope, value));
    let concluded_at = times.concluded_at().filter(|at| time::counts(envelope, *at));
    let facts = match kind {
        Kind::Transcription => facts::of_conversation(data, &times),
        Kind::InitiationFailure => facts::of_failure(data),
        Kind::TranscriptionTrace | Kind::Audio | Kind::MachineDetection => Facts::new(),
    };
    let mut fields = claims.fields;
    if let Some(recording) = &recording {
        // The file has the id of the event as its name, so a repeated event writes the same file.
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
        facts,
        outcome: claims.outcome,
        at: event_time.at,
        time_ignored: event_time.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at: times.began_at(),
        concluded_at: concluded_at.filter(|_| kind == Kind::Transcription),
        ends_conversation: claims.ends_conversation,
        is_leg: false,
        fields,
        recording,
        has_audio,
    })
}

/// What a conversation says about its call while it has no event yet.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationFacts {
    /// The telephony id.
    pub call_id: Option<CallId>,
    /// The agent and the callee.
    pub parties: Parties,
    /// Other facts.
    pub facts: Facts,
    /// How the call turned out, if the conversation says something about it.
    pub outcome: Option<Outcome>,
    /// The times of the conversation.
    pub times: ConversationTimes,
}

/// Reads [`ConversationFacts`] from a conversation whose call has this `status`. A time counts if it is possible at
/// `now`.
pub fn conversation_facts(
    conversation: &Map<String, Value>,
    status: Status,
    now: Timestamp,
) -> ConversationFacts {
    let envelope = Envelope::new("", now, Origin::Reconciliation);
    let times = ConversationTimes::read(conversation, |value| time::of_begin(&envelope, value));
    ConversationFacts {
        call_id: call_id(conversation),
        parties: parties(conversation),
        facts: facts::of_conversation(conversation, &times),
        outcome: claims::conversation_outcome(conversation, status),
        times,
    }
}

/// The telephony id. Each kind of event has it in another field. A text that cannot be an id is ignored,
/// because the conversation id names the call already.
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
    PATHS.into_iter().find_map(|path| identifier::lenient_id(at_path(data, path)?, CallId::new))
}

/// Whether ElevenLabs has a recording of the conversation `data`, which is over.
fn has_audio(data: &Map<String, Value>) -> bool {
    let is_over = matches!(word(data, "status").as_deref(), Some("done" | "failed"));
    is_over && data.get("has_audio").and_then(Value::as_bool) == Some(true)
}

fn placement_id(data: &Map<String, Value>) -> Option<PlacementId> {
    let path = ["conversation_initiation_client_data", "dynamic_variables", PLACEMENT_VARIABLE];
    PlacementId::new(at_path(data, &path)?.as_str()?).ok()
}

fn parties(data: &Map<String, Value>) -> Parties {
    let text = |path: &[&str]| parties::read(at_path(data, path)?);
    let number = |path: &[&str]| parties::read_number(at_path(data, path)?);
    let connection = Connection::read(data);
    Parties {
        agent_id: text(&["agent_id"]),
        agent_phone_number_id: connection.agent_phone_number_id,
        to_number: connection
            .to_number
            .or_else(|| number(&["metadata", "body", "To"]))
            .or_else(|| number(&["metadata", "body", "Called"]))
            .or_else(|| number(&["metadata", "body", "to_number"])),
    }
}
