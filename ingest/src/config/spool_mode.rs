//! When webhooks are written to the spool. Pure.

/// When webhooks are written to the spool (`SPOOL`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpoolMode {
    /// If the broker has not stored them.
    #[default]
    Fallback,
    /// Before they are published.
    First,
}

impl SpoolMode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Fallback, Self::First];

    /// The value of the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fallback => "fallback",
            Self::First => "first",
        }
    }

    /// The mode that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Fallback => Self::First,
            Self::First => Self::Fallback,
        }
    }
}
