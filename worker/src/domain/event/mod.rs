//! Bytes of any provider → [`Event`]. Pure: no clock, no socket.
//!
//! Whatever cannot become an event says why in a [`ParseError`], whose label becomes the reason of a
//! dead letter. Nothing here guesses: a call is only ever touched by an event that names it.

mod call_status;
mod elevenlabs;
mod identifier;
mod names;
mod recording;
mod shape;
mod time;
mod twilio;
mod words;

use std::collections::BTreeMap;

use aftercall_common::{
    contract::{provider::Provider, subject::WebhookSubject},
    json::{self, ReadError},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use self::shape::Shape;
pub use self::{
    call_status::EventType,
    elevenlabs::{INITIATION_FAILURE, PLACEMENT_VARIABLE, TRANSCRIPTION, never_connected},
    identifier::{CallId, ConversationId, IdentifierError, PlacementId, lenient},
    names::Names,
    time::{FIRST_CONVERSATION, is_plausible},
    words::FOREIGN_FAMILIES,
};
use super::call::{Field, Status};

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

    /// Whether its webhooks may be forms.
    pub fn sends_forms(self) -> bool {
        match self {
            Self::Twilio => true,
            Self::ElevenLabs | Self::Reconciliation => false,
        }
    }
}

impl From<WebhookSubject> for Origin {
    fn from(subject: WebhookSubject) -> Self {
        match subject {
            WebhookSubject::Received(Provider::ElevenLabs) => Self::ElevenLabs,
            WebhookSubject::Received(Provider::Twilio) => Self::Twilio,
            WebhookSubject::Reconciled => Self::Reconciliation,
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
    /// When the gateway accepted it: earlier than `stored_at` where it waited in a spool or as a dead letter.
    pub received_at: Option<Timestamp>,
    /// The query of the URL that a callback of Twilio was posted to.
    pub query: Option<String>,
}

impl Envelope {
    /// An envelope of which no more is known.
    pub fn new(id: impl Into<String>, stored_at: Timestamp, origin: Origin) -> Self {
        Self { id: id.into(), stored_at, origin, signature: None, received_at: None, query: None }
    }
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
    /// The call that this one is a leg of.
    pub parent_call_id: Option<CallId>,
    /// Agent, its number and the callee, where the payload names them.
    pub parties: Parties,
    /// The event's own time if that counts, else when it was stored; whole milliseconds, as MongoDB keeps
    /// dates.
    pub at: Timestamp,
    /// Whether it gives itself a time that does not count.
    pub time_ignored: bool,
    /// When the broker stored it, whole milliseconds.
    pub stored_at: Timestamp,
    /// When the call began, where the payload says so.
    pub began_at: Option<Timestamp>,
    /// Whether it is of a line that need not have a conversation: a leg of another call, or an inbound call.
    /// Its end then makes a transcript due only if a conversation of the call is known.
    pub is_leg: bool,
    /// What it says whole: the payload itself, and what is taken out of it.
    pub fields: BTreeMap<Field, Value>,
    /// The recording, which is too large for a document.
    pub recording: Option<Recording>,
}

impl Event {
    /// Whether it names the call and neither a conversation nor a placement.
    pub fn names_call_alone(&self) -> bool {
        self.conversation_id.is_none() && self.placement_id.is_none()
    }
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

/// Why a body is not an event. No variant carries a part of the body but the event type, cut short, and names
/// of fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not one JSON object.
    #[error("not a JSON object at line {} column {}", .0.line, .0.column)]
    InvalidJson(#[from] ReadError),
    /// Neither a call id nor a conversation id.
    #[error("neither a call id nor a conversation id is given: {0}")]
    NoIdentifier(Names),
    /// An identifier of the wrong type or with characters no provider uses.
    #[error(transparent)]
    InvalidIdentifier(#[from] IdentifierError),
    /// A recording that is not base64.
    #[error("full_audio is not base64")]
    InvalidAudio,
    /// No word says what happened, and the fields do not tell.
    #[error("no event type is given: {0}")]
    NoEventType(Names),
    /// An event that is known, in a shape that is not.
    #[error("event type {0:?} has another shape: {1}")]
    UnexpectedShape(String, Names),
    /// An event this version does not know. May be replayed after an upgrade.
    #[error("event type {0:?} is not supported: {1}")]
    UnsupportedEvent(String, Names),
    /// An event of another product of the vendor. There is nothing to do; holds its family.
    #[error("not about a call: {0}")]
    NotAboutACall(&'static str),
}

/// Label of what is no dead letter: an event of another product of the vendor.
pub const NOT_ABOUT_A_CALL: &str = "not_about_a_call";

impl ParseError {
    /// Stable label, the reason of the dead letter.
    pub fn label(&self) -> &'static str {
        match self {
            Self::InvalidJson(_) => "invalid_json",
            Self::NoIdentifier(_) => "no_identifier",
            Self::InvalidIdentifier(_) => "invalid_identifier",
            Self::InvalidAudio => "invalid_audio",
            Self::NoEventType(_) => "no_event_type",
            Self::UnexpectedShape(..) => "unexpected_shape",
            Self::UnsupportedEvent(..) => "unsupported_event",
            Self::NotAboutACall(_) => NOT_ABOUT_A_CALL,
        }
    }
}

/// Parses a webhook in the form its origin uses.
///
/// ElevenLabs' endpoint takes two: the flat one names its event in `event_type`, the vendor's own
/// envelope in `type`, with everything else under `data`.
pub fn parse(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    match envelope.origin {
        Origin::Twilio => twilio::event(envelope, body),
        Origin::ElevenLabs | Origin::Reconciliation => elevenlabs_event(envelope, body),
    }
}

fn elevenlabs_event(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let mut raw = json::read_object(body)?;
    match shape::of(&mut raw)? {
        Shape::Envelope(kind, place) => elevenlabs::event(envelope, kind, place, raw, body.len()),
        Shape::Flat(event_type, place) => call_status::event(envelope, event_type, place, raw),
    }
}

/// Cuts `time` to whole milliseconds: what MongoDB stores, so that a comparison here and one there
/// agree.
fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
