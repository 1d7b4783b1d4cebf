//! Errors of a status lookup, with their codes and HTTP statuses. Pure.

use crate::store::StoreError;

/// The reason why a lookup has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The request names no call.
    #[error("conversation_id, callSid or placementId must be given")]
    NoIdentifier,
    /// Neither the database nor ElevenLabs knows the call.
    #[error("there is no call with this id")]
    NotFound,
    /// The call is not stored, and ElevenLabs cannot be asked at the moment.
    #[error("the call is not stored, and ElevenLabs cannot be asked at the moment")]
    Unavailable,
    /// MongoDB does not answer.
    #[error("the database does not answer")]
    NoDatabase,
}

impl LookupError {
    /// Stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::NoIdentifier => "no_identifier",
            Self::NotFound => "not_found",
            Self::Unavailable => "elevenlabs_unavailable",
            Self::NoDatabase => "database_unavailable",
        }
    }

    /// HTTP status of the error.
    pub fn status(&self) -> usize {
        match self {
            Self::Invalid(_) | Self::NoIdentifier => 400,
            Self::NotFound => 404,
            Self::Unavailable | Self::NoDatabase => 503,
        }
    }
}

impl From<StoreError> for LookupError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a status lookup failed because MongoDB did not answer");
        Self::NoDatabase
    }
}
