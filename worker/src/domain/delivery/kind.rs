//! The kinds of endpoints. Pure.

/// What an endpoint gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signed events about calls.
    Events,
    /// Accepted webhooks, as the provider sent them.
    Raw,
}

impl Kind {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Raw => "raw",
        }
    }

    /// The kind with this stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Events, Self::Raw].into_iter().find(|kind| kind.as_str() == word)
    }
}
