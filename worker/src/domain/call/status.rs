//! The twelve statuses of a call and their order.

use std::fmt;

/// The status of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The call was placed.
    Initiated,
    /// The callee's telephone rings.
    Ringing,
    /// The callee is on the line.
    Answered,
    /// The conversation is over.
    Completed,
    /// The telephone call is over.
    Ended,
    /// The call could not be placed.
    InitiationFailed,
    /// The line was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// The call failed for any other reason.
    Failed,
    /// The caller canceled the call before it was answered.
    Canceled,
    /// The callee could not be reached.
    Unreachable,
    /// The callee rejected the call.
    Rejected,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 12] = [
        Self::Initiated,
        Self::Ringing,
        Self::Answered,
        Self::Completed,
        Self::Ended,
        Self::InitiationFailed,
        Self::Busy,
        Self::NoAnswer,
        Self::Failed,
        Self::Canceled,
        Self::Unreachable,
        Self::Rejected,
    ];

    /// The statuses of a call that is not over.
    pub const UNFINISHED: [Self; 3] = [Self::Initiated, Self::Ringing, Self::Answered];

    /// The word in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Completed => "completed",
            Self::Ended => "ended",
            Self::InitiationFailed => "initiation_failed",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Unreachable => "unreachable",
            Self::Rejected => "rejected",
        }
    }

    /// The status of a word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// The rank: a status only changes to one of the same or a higher rank. Failures have the highest ranks: a
    /// specific failure prevails over a general one, and of two failures of the same rank the later one.
    pub fn rank(self) -> i32 {
        match self {
            Self::Initiated => 0,
            Self::Ringing => 1,
            Self::Answered => 2,
            Self::Completed => 3,
            Self::Ended => 4,
            Self::InitiationFailed | Self::Failed => 5,
            Self::Busy | Self::NoAnswer | Self::Canceled | Self::Unreachable | Self::Rejected => 6,
        }
    }

    /// Whether the call failed.
    pub fn is_failure(self) -> bool {
        self.rank() >= Self::Failed.rank()
    }

    /// Whether the call is over.
    pub fn is_finished(self) -> bool {
        self.rank() >= Self::Completed.rank()
    }

    /// Whether a conversation is over, so that its transcript is due.
    pub fn ends_conversation(self) -> bool {
        matches!(self, Self::Completed | Self::Ended)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
