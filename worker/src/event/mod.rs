//! Bytes of any provider → [`Event`]. Pure: no clock, no socket.
//!
//! Whatever cannot become an event says why in a [`ParseError`], whose label becomes the reason of a
//! dead letter. Nothing here guesses: a call is only ever touched by an event that names it.

mod call_status;
mod elevenlabs;
mod identifier;
mod time;
mod twilio;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

pub use self::{
    call_status::EventType,
    elevenlabs::{INITIATION_FAILURE, PLACEMENT_VARIABLE, TRANSCRIPTION, never_connected},
    identifier::{CallId, ConversationId, IdentifierError, PlacementId},
};
use crate::call::{Field, Status};

/// Who told us of an event, and so in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A webhook of ElevenLabs.
    ElevenLabs,
    /// A status callback of Twilio.
    Twilio,
    /// Our own reconciliation, in the form of ElevenLabs' webhooks.
    Reconciliation,
}

impl Origin {
    /// The word in the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ElevenLabs => "elevenlabs",
            Self::Twilio => "twilio",
            Self::Reconciliation => "reconciliation",
        }
    }
}

/// What is known of a webhook besides its body.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Deterministic id: the same bytes to the same path have the same id.
    pub id: String,
    /// When the broker stored it. Stands in for the event's own time where it has none.
    pub stored_at: Timestamp,
    /// Who sent it.
    pub origin: Origin,
    /// The gateway's verdict on its signature.
    pub signature: Option<String>,
}

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// See [`Envelope::id`].
    pub id: String,
    /// What happened, in the word of the sender.
    pub event_type: &'static str,
    /// Who told us.
    pub origin: Origin,
    /// The gateway's verdict on its signature.
    pub signature: Option<String>,
    /// The status it claims for the call. Recordings and verdicts on who answered claim none.
    pub status: Option<Status>,
    /// The payload's own `status` word, kept in the history whatever becomes of it.
    pub received_status: Option<String>,
    /// Why the call failed, for the statuses that are failures.
    pub failure_reason: Option<String>,
    /// The telephony id.
    pub call_id: Option<CallId>,
    /// The ElevenLabs conversation id.
    pub conversation_id: Option<ConversationId>,
    /// The placement, for a call placed through us whose event says so.
    pub placement_id: Option<PlacementId>,
    /// Agent, its number and the callee, where the payload names them.
    pub parties: Parties,
    /// The event's own time, else when it was stored; whole milliseconds, as MongoDB keeps dates.
    pub at: Timestamp,
    /// When the broker stored it, whole milliseconds.
    pub stored_at: Timestamp,
    /// When the call began, where the payload says so.
    pub began_at: Option<Timestamp>,
    /// What it says whole: the payload itself, and what is taken out of it.
    pub fields: BTreeMap<Field, Value>,
    /// The recording, which is too large for a document.
    pub recording: Option<Recording>,
}

/// A recorded call: MP3. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Recording(pub Bytes);

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({} bytes)", self.0.len())
    }
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
    #[error("neither a call id nor a conversation id is given")]
    NoIdentifier,
    /// An identifier of the wrong type or with characters no provider uses.
    #[error(transparent)]
    InvalidIdentifier(#[from] IdentifierError),
    /// A recording that is not base64.
    #[error("full_audio is not base64")]
    InvalidAudio,
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
            Self::InvalidAudio => "invalid_audio",
            Self::UnsupportedEvent(_) => "unsupported_event",
        }
    }
}

/// Parses a webhook in the form its origin uses.
///
/// ElevenLabs' endpoint takes two: the flat one names its event in `event_type`, the vendor's own
/// envelope in `type`, with everything else under `data`.
pub fn parse(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    if envelope.origin == Origin::Twilio {
        return twilio::event(envelope, body);
    }
    let raw: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| ParseError::InvalidJson { line: error.line(), column: error.column() })?;
    match elevenlabs::Kind::of(&raw) {
        Some(kind) => elevenlabs::event(envelope, kind, raw, body.len()),
        None => call_status::event(envelope, raw),
    }
}

/// Cuts `time` to whole milliseconds: what MongoDB stores, so that a comparison here and one there
/// agree.
fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Most characters kept of a word for the history, or for a dead letter.
const MAX_WORD: usize = 64;

fn cut(word: &str) -> String {
    word.chars().take(MAX_WORD).collect()
}

#[cfg(test)]
mod tests;
