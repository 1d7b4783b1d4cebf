//! The flat form: `{"event_type": "call.completed", "call_id": …}`.

use serde_json::{Map, Value};

use super::{
    CallId, ConversationId, Envelope, Event, ParseError, Parties, elevenlabs::party, identifier,
    names::Names, shape::Place, time, to_millis, words::fold,
};
use crate::domain::{
    call::{Field, Status, failure_reason},
    text::{MAX_WORD, cut},
};

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

    /// The event of this word.
    pub(super) fn exact(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == word)
    }

    /// The event that a word names, written in any of the usual ways.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match fold(word).as_str() {
            "callcancelled" => Some(Self::Canceled),
            word => Self::ALL.into_iter().find(|event_type| fold(event_type.as_str()) == word),
        }
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
pub(super) fn event(
    envelope: &Envelope,
    event_type: EventType,
    place: Place,
    raw: Map<String, Value>,
) -> Result<Event, ParseError> {
    let data = match place {
        Place::Data => raw.get("data").and_then(Value::as_object).unwrap_or(&raw),
        Place::Top => &raw,
    };
    let call_id = identifier::text(data, "call_id")?.map(CallId::new).transpose()?;
    let conversation_id = identifier::text(data, "conversation_id")?.map(ConversationId::new).transpose()?;
    if call_id.is_none() && conversation_id.is_none() {
        return Err(ParseError::NoIdentifier(Names::of(&raw)));
    }
    let status = event_type.status();
    let times = ["timestamp", "event_timestamp"];
    let stated =
        [data, &raw].into_iter().flat_map(|fields| times.iter().filter_map(|field| fields.get(*field)));
    let when = time::of_event(envelope, stated);
    let parties = Parties {
        agent_id: data.get("agent_id").and_then(party),
        agent_phone_number_id: data.get("agent_phone_number_id").and_then(party),
        to_number: data.get("to_number").and_then(party),
    };
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
        at: when.at,
        time_ignored: when.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        is_leg: false,
        fields: [(Field::RawResponse, Value::Object(raw))].into(),
        recording: None,
    })
}
