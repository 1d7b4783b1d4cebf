//! The state of the transcript of a call.

/// The state of the transcript. Of two states the later variant prevails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TranscriptState {
    /// The conversation is over, and its transcript is pending.
    Pending,
    /// The worker gave up, with a reason.
    Unavailable,
    /// The transcript is stored.
    Saved,
}

impl TranscriptState {
    /// Every state in ascending order: a later state prevails over an earlier one.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Unavailable, Self::Saved];

    /// The state of a word in the database.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "owed",
            Self::Unavailable => "unavailable",
            Self::Saved => "saved",
        }
    }
}
