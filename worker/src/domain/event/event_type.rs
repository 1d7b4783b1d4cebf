//! The event types of the flat form, and the status that each claims.

use super::spelling::normalize;
use crate::domain::call::Status;

/// The twelve events of the flat form.
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
    /// Every event type.
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

    /// The word in a body.
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

    /// The event type with exactly this word.
    pub(super) fn exact(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event_type| event_type.as_str() == word)
    }

    /// The event type of a word in any of the usual spellings.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match normalize(word).as_str() {
            "callcancelled" => Some(Self::Canceled),
            word => Self::ALL.into_iter().find(|event_type| normalize(event_type.as_str()) == word),
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
