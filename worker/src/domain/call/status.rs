//! The twelve statuses and their order.

use std::fmt;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Placed, nothing heard yet.
    Initiated,
    /// The callee's telephone rings.
    Ringing,
    /// The callee is on the line.
    Answered,
    /// The conversation came to its end.
    Completed,
    /// The line is closed.
    Ended,
    /// The call could not be placed.
    InitiationFailed,
    /// The line was busy.
    Busy,
    /// Nobody picked up.
    NoAnswer,
    /// Failed on the way.
    Failed,
    /// Taken back before the answer.
    Canceled,
    /// The callee could not be reached.
    Unreachable,
    /// The callee declined.
    Rejected,
}

impl Status {
    /// All of them.
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

    /// The status a word in the database stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// A status only moves to a higher rank; failures share the highest, and among them time decides.
    pub fn rank(self) -> i32 {
        match self {
            Self::Initiated => 0,
            Self::Ringing => 1,
            Self::Answered => 2,
            Self::Completed => 3,
            Self::Ended => 4,
            Self::InitiationFailed
            | Self::Busy
            | Self::NoAnswer
            | Self::Failed
            | Self::Canceled
            | Self::Unreachable
            | Self::Rejected => 5,
        }
    }

    /// Whether the call came to nothing.
    pub fn is_failure(self) -> bool {
        self.rank() == 5
    }

    /// Whether nothing more is expected to happen.
    pub fn is_finished(self) -> bool {
        self.rank() >= Self::Completed.rank()
    }

    /// Whether the call held a conversation that is over, so that a transcript is owed.
    pub fn owes_transcript(self) -> bool {
        matches!(self, Self::Completed | Self::Ended)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
