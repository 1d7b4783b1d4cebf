//! ElevenLabs' own envelope: `{"type": …, "event_timestamp": …, "data": {…}}`.
//!
//! ElevenLabs documents the fields on the page "Post-call webhooks" and adds more without notice. So the
//! parser ignores fields that it does not know, and refuses only an event that names no call.

mod claims;
mod facts;
mod payload;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{
    claims::Claims,
    payload::{at_path, word},
};
pub use self::{
    claims::{given_reason, never_connected},
    facts::{channel, channel_of_source},
    payload::{MAX_DURATION, PLACEMENT_VARIABLE, whole_number},
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
use crate::domain::call::{Facts, Field};

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
    let claims = Claims::read(kind, data, size);
    let (placement_id, parties, received_status) = (placement_id(data), parties(data), word(data, "status"));
    let began_at = time::of_begin(envelope, at_path(data, &["metadata", "start_time_unix_secs"]));
    let facts = match kind {
        Kind::Transcription => facts::of_conversation(data, |value| time::of_begin(envelope, value)),
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
        began_at,
        is_leg: false,
        fields,
        recording,
    })
}

/// The call that a conversation names, and what the conversation says about it while it goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The telephony id.
    pub call_id: Option<CallId>,
    /// The agent and the callee.
    pub parties: Parties,
    /// Other facts.
    pub facts: Facts,
}

/// Reads [`Identity`] from a conversation. A time counts if it is possible at `now`.
pub fn identity(conversation: &Map<String, Value>, now: Timestamp) -> Identity {
    let envelope = Envelope::new("", now, Origin::Reconciliation);
    let time = |value: Option<&Value>| time::of_begin(&envelope, value);
    Identity {
        call_id: call_id(conversation),
        parties: parties(conversation),
        facts: facts::of_conversation(conversation, time),
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

fn placement_id(data: &Map<String, Value>) -> Option<PlacementId> {
    let path = ["conversation_initiation_client_data", "dynamic_variables", PLACEMENT_VARIABLE];
    PlacementId::new(at_path(data, &path)?.as_str()?).ok()
}

fn parties(data: &Map<String, Value>) -> Parties {
    let text = |path: &[&str]| parties::read(at_path(data, path)?);
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
