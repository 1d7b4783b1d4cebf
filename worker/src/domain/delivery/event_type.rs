//! The types of outgoing events. Pure.

use std::fmt;

/// What an outgoing event says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// The call is stored for the first time.
    Created,
    /// The status of the call changed.
    Status,
    /// The outcome of the call became known, or changed.
    Outcome,
    /// The transcript of the call was saved, or is unavailable.
    Transcript,
    /// An operator erased the call with `forget`.
    Erased,
}

impl EventType {
    /// Every type, in the order in which the events of one change are published.
    pub const ALL: [Self; 5] = [Self::Created, Self::Status, Self::Outcome, Self::Transcript, Self::Erased];

    /// The types that a change of the document of a stored call may cause.
    pub const OF_A_CHANGE: [Self; 3] = [Self::Status, Self::Outcome, Self::Transcript];

    /// The type in the body of an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "call.created",
            Self::Status => "call.status",
            Self::Outcome => "call.outcome",
            Self::Transcript => "call.transcript",
            Self::Erased => "call.erased",
        }
    }

    /// What happened, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Created => "The call is stored for the first time.",
            Self::Status => "The status of the call changed.",
            Self::Outcome => "The outcome of the call became known, or changed.",
            Self::Transcript => "The transcript of the call was saved, or is unavailable.",
            Self::Erased => "An operator erased the call with `forget`.",
        }
    }

    /// The subject in the stream `CALLS`.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Created => "calls.created",
            Self::Status => "calls.status",
            Self::Outcome => "calls.outcome",
            Self::Transcript => "calls.transcript",
            Self::Erased => "calls.erased",
        }
    }

    /// The type of the events on `subject`.
    pub fn of_subject(subject: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.subject() == subject)
    }

    /// The type with this name in the body of an event.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
