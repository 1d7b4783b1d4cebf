//! Errors of a status lookup, with their codes and HTTP statuses. Pure.

use aftercall_common::contract::agent_calls::Refusal;

use crate::store::StoreError;

/// The reason why a lookup has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The request names no call.
    #[error("callId, conversation_id or placementId must be given")]
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
    /// What the caller is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(_) => Refusal::InvalidRequest,
            Self::NoIdentifier => Refusal::NoIdentifier,
            Self::NotFound => Refusal::NotFound,
            Self::Unavailable => Refusal::ElevenLabsUnavailable,
            Self::NoDatabase => Refusal::DatabaseUnavailable,
        }
    }
}

impl From<StoreError> for LookupError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a status lookup failed because MongoDB did not answer");
        Self::NoDatabase
    }
}
