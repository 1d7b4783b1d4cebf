//! Bytes of any provider → [`Event`]. Pure: no clock, no socket.
//!
//! Whatever cannot become an event says why in a [`ParseError`], whose label becomes the reason of a
//! dead letter. Nothing here guesses: a call is only ever touched by an event that names it.

mod call_status;
mod identifier;
mod time;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use self::{
    call_status::EventType,
    identifier::{CallId, ConversationId, IdentifierError},
};
use crate::call::Status;

/// What is known of a webhook besides its body.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Deterministic id: the same bytes to the same path have the same id.
    pub id: String,
    /// When the broker stored it. Stands in for the event's own time where it has none.
    pub stored_at: Timestamp,
}

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// See [`Envelope::id`].
    pub id: String,
    /// What happened, in the word of the sender.
    pub event_type: EventType,
    /// The status it claims for the call.
    pub status: Status,
    /// The payload's own `status` word, kept in the history whatever becomes of it.
    pub received_status: Option<String>,
    /// Why the call failed, for the statuses that are failures.
    pub failure_reason: Option<String>,
    /// The telephony id.
    pub call_id: Option<CallId>,
    /// The ElevenLabs conversation id.
    pub conversation_id: Option<ConversationId>,
    /// Agent, its number and the callee, where the payload names them.
    pub parties: Parties,
    /// The event's own time, else when it was stored; whole milliseconds, as MongoDB keeps dates.
    pub at: Timestamp,
    /// When the broker stored it, whole milliseconds.
    pub stored_at: Timestamp,
    /// The payload.
    pub raw: Map<String, Value>,
}

/// Who takes part in a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// `agent_id`.
    pub agent_id: Option<String>,
    /// `agent_phone_number_id`.
    pub agent_phone_number_id: Option<String>,
    /// `to_number`.
    pub to_number: Option<String>,
}

/// Why a body is not an event. No variant carries a part of the body but the event type, cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not one JSON object.
    #[error("not a JSON object at line {line} column {column}")]
    InvalidJson {
        /// Line of the first offence.
        line: usize,
        /// Column of it.
        column: usize,
    },
    /// Neither a call id nor a conversation id.
    #[error("neither call_id nor conversation_id is given")]
    NoIdentifier,
    /// An identifier of the wrong type or with characters no provider uses.
    #[error(transparent)]
    InvalidIdentifier(#[from] IdentifierError),
    /// An event this version does not know. May be replayed after an upgrade.
    #[error("event type {0:?} is not supported")]
    UnsupportedEvent(String),
}

impl ParseError {
    /// Stable label, the reason of the dead letter.
    pub fn label(&self) -> &'static str {
        match self {
            Self::InvalidJson { .. } => "invalid_json",
            Self::NoIdentifier => "no_identifier",
            Self::InvalidIdentifier(_) => "invalid_identifier",
            Self::UnsupportedEvent(_) => "unsupported_event",
        }
    }
}

/// Parses a webhook of ElevenLabs' call-status endpoint.
pub fn parse(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let raw: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| ParseError::InvalidJson { line: error.line(), column: error.column() })?;
    call_status::event(envelope, raw)
}

/// Cuts `time` to whole milliseconds: what MongoDB stores, so that a comparison here and one there
/// agree.
fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
