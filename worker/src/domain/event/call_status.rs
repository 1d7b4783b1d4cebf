//! The flat form: `{"event_type": "call.completed", "call_id": …}`.

use serde_json::{Map, Value};

use super::{
    call_event::Event,
    connection::set,
    envelope::Envelope,
    error::ParseError,
    event_type::EventType,
    field_names::FieldNames,
    identifier::{self, CallId, ConversationId},
    parties::{self, Parties},
    shape::Location,
    spelling::normalize,
    time::{self, to_millis},
};
use crate::domain::{
    call::{Evidence, Fact, Facts, Field, failure_reason, outcome},
    text::{MAX_PARTY, MAX_WORD, cut},
};

/// Turns a parsed body into an event.
///
/// # Errors
/// The body names no call, or an identifier cannot be used.
pub(super) fn event(
    envelope: &Envelope,
    event_type: EventType,
    location: Location,
    raw: Map<String, Value>,
) -> Result<Event, ParseError> {
    let data = match location {
        Location::Data => raw.get("data").and_then(Value::as_object).unwrap_or(&raw),
        Location::Top => &raw,
    };
    let call_id = identifier::read(data, "call_id")?.map(CallId::new).transpose()?;
    let conversation_id = identifier::read(data, "conversation_id")?.map(ConversationId::new).transpose()?;
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier(FieldNames::of(&raw)));
    }
    let status = event_type.status();
    let times = ["timestamp", "event_timestamp"];
    let stated =
        [data, &raw].into_iter().flat_map(|fields| times.iter().filter_map(|field| fields.get(*field)));
    let event_time = time::of_event(envelope, stated);
    let parties = Parties {
        agent_id: data.get("agent_id").and_then(parties::read),
        agent_phone_number_id: data.get("agent_phone_number_id").and_then(parties::read),
        to_number: data.get("to_number").and_then(parties::read_number),
    };
    let mut facts = Facts::new();
    let caller = data.get("from_number").and_then(parties::read_number);
    set(&mut facts, Fact::FromNumber, caller.as_deref(), MAX_PARTY);
    Ok(Event {
        id: envelope.id.clone(),
        event_type: event_type.as_str(),
        origin: envelope.origin,
        signature: envelope.signature.clone(),
        status: Some(status),
        received_status: data.get("status").and_then(Value::as_str).map(|word| cut(word, MAX_WORD)),
        failure_reason: status.is_failure().then(|| failure_reason(data, status)),
        call_id,
        conversation_id,
        placement_id: None,
        parent_call_id: None,
        parties,
        facts,
        outcome: outcome(&Evidence {
            status: Some(status),
            result: data.get("failure_reason").and_then(Value::as_str).map(normalize),
            ..Evidence::default()
        }),
        at: event_time.at,
        time_ignored: event_time.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        concluded_at: None,
        ends_conversation: status.ends_conversation(),
        is_leg: false,
        fields: [(Field::RawResponse, Value::Object(raw))].into(),
        has_audio: false,
        recording: None,
    })
}
