//! Why a body is not an event.

use aftercall_common::json::ReadError;

use super::{field_names::FieldNames, identifier::IdentifierError};
use crate::domain::reason::Reason;

/// Why a body is not an event. A variant holds at most the event type, cut short, and names of fields; it
/// never holds a value of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The body is not one JSON object.
    #[error("not a JSON object at line {} column {}", .0.line, .0.column)]
    InvalidJson(#[from] ReadError),
    /// The body has neither a call id nor a conversation id.
    #[error("neither a call id nor a conversation id is given: {0}")]
    NoIdentifier(FieldNames),
    /// An identifier has the wrong type, or characters that no provider uses.
    #[error(transparent)]
    InvalidIdentifier(#[from] IdentifierError),
    /// The recording is not base64.
    #[error("full_audio is not base64")]
    InvalidAudio,
    /// The body names no event type, and its fields do not identify the event type.
    #[error("no event type is given: {0}")]
    NoEventType(FieldNames),
    /// The event type is known, but the body does not have the shape of this event type.
    #[error("the body does not have the shape of event type {0:?}: {1}")]
    UnexpectedShape(String, FieldNames),
    /// This version does not know the event type. A later version may know it, and the dead letter can be
    /// redriven then.
    #[error("event type {0:?} is not supported: {1}")]
    UnsupportedEvent(String, FieldNames),
    /// The event belongs to another product of the vendor and needs no action. Holds the family of the event.
    #[error("not about a call: {0}")]
    NotAboutACall(&'static str),
}

impl ParseError {
    /// The reason of the dead letter.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidJson(_) => Reason::InvalidJson,
            Self::NoIdentifier(_) => Reason::NoIdentifier,
            Self::InvalidIdentifier(_) => Reason::InvalidIdentifier,
            Self::InvalidAudio => Reason::InvalidAudio,
            Self::NoEventType(_) => Reason::NoEventType,
            Self::UnexpectedShape(..) => Reason::UnexpectedShape,
            Self::UnsupportedEvent(..) => Reason::UnsupportedEvent,
            Self::NotAboutACall(_) => Reason::NotAboutACall,
        }
    }
}
