//! The flat form: `{"event_type": "call.completed", "call_id": …}`.

use serde_json::{Map, Value};

use super::{CallId, ConversationId, Envelope, Event, ParseError, Parties, cut, identifier, time, to_millis};
use crate::call::{Field, Status, failure_reason};

/// The twelve events, in the sender's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// `call.initiated`
    Initiated,
    /// `call.ringing`
    Ringing,
    /// `call.answered`
    Answered,
    /// `call.completed`
    Completed,
    /// `call.ended`
    Ended,
    /// `call_initiation_failure`
    InitiationFailure,
    /// `call.busy`
    Busy,
    /// `call.no_answer`
    NoAnswer,
    /// `call.failed`
    Failed,
    /// `call.canceled`
    Canceled,
    /// `call.unreachable`
    Unreachable,
    /// `call.rejected`
    Rejected,
}

impl EventType {
    /// All of them, in the order of the contract's table.
    pub const ALL: [Self; 12] = [
        Self::Initiated,
        Self::Ringing,
        Self::Answered,
        Self::Completed,
        Self::Ended,
        Self::InitiationFailure,
        Self::Busy,
        Self::NoAnswer,
        Self::Failed,
        Self::Canceled,
        Self::Unreachable,
        Self::Rejected,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initiated => "call.initiated",
            Self::Ringing => "call.ringing",
            Self::Answered => "call.answered",
            Self::Completed => "call.completed",
            Self::Ended => "call.ended",
            Self::InitiationFailure => "call_initiation_failure",
            Self::Busy => "call.busy",
            Self::NoAnswer => "call.no_answer",
            Self::Failed => "call.failed",
            Self::Canceled => "call.canceled",
            Self::Unreachable => "call.unreachable",
            Self::Rejected => "call.rejected",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == word)
    }

    /// The status the event claims for its call.
    pub fn status(self) -> Status {
        match self {
            Self::Initiated => Status::Initiated,
            Self::Ringing => Status::Ringing,
            Self::Answered => Status::Answered,
            Self::Completed => Status::Completed,
            Self::Ended => Status::Ended,
            Self::InitiationFailure => Status::InitiationFailed,
            Self::Busy => Status::Busy,
            Self::NoAnswer => Status::NoAnswer,
            Self::Failed => Status::Failed,
            Self::Canceled => Status::Canceled,
            Self::Unreachable => Status::Unreachable,
            Self::Rejected => Status::Rejected,
        }
    }
}

/// Turns a parsed body into an event.
pub(super) fn event(envelope: &Envelope, raw: Map<String, Value>) -> Result<Event, ParseError> {
    // The vendor's envelope names its event in `type`; one that is not known comes here too.
    let word = ["event_type", "type"].into_iter().find_map(|field| raw.get(field)?.as_str());
    let word = word.unwrap_or_default();
    let event_type = EventType::from_word(word).ok_or_else(|| ParseError::UnsupportedEvent(cut(word)))?;
    let call_id = identifier::text(&raw, "call_id")?.map(CallId::new).transpose()?;
    let conversation_id = identifier::text(&raw, "conversation_id")?.map(ConversationId::new).transpose()?;
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier);
    }
    let text = |field: &str| raw.get(field).and_then(Value::as_str).map(str::to_owned);
    let status = event_type.status();
    let own_time = ["timestamp", "event_timestamp"].into_iter().find_map(|field| time::read(raw.get(field)?));
    Ok(Event {
        id: envelope.id.clone(),
        event_type: event_type.as_str(),
        origin: envelope.origin,
        signature: envelope.signature.clone(),
        status: Some(status),
        received_status: raw.get("status").and_then(Value::as_str).map(cut),
        failure_reason: status.is_failure().then(|| failure_reason(&raw, status)),
        call_id,
        conversation_id,
        placement_id: None,
        parties: Parties {
            agent_id: text("agent_id"),
            agent_phone_number_id: text("agent_phone_number_id"),
            to_number: text("to_number"),
        },
        at: to_millis(own_time.unwrap_or(envelope.stored_at)),
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        fields: [(Field::RawResponse, Value::Object(raw))].into(),
        recording: None,
    })
}
