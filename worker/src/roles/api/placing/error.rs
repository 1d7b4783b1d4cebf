//! Errors of a placement, with their codes and HTTP statuses. Pure.

use aftercall_common::contract::agent_calls::Refusal;

use crate::{elevenlabs::Refused, store::StoreError};

/// The reason why a call was not placed, or may not have been placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    Conflict,
    /// A request with the same idempotency key is being dialled.
    #[error("a request with this Idempotency-Key is in progress")]
    InProgress,
    /// ElevenLabs refused the call. Nothing was dialled.
    #[error("{}", sentence(*.0))]
    Refused(Refused),
    /// ElevenLabs gave no clear answer and may have dialled. The value is the id of the placement.
    #[error("the call may have been placed, as placement {0}; it will not be dialled again")]
    OutcomeUnknown(String),
    /// `ELEVENLABS_API_KEY` is not set.
    #[error("calls cannot be placed: ELEVENLABS_API_KEY is not set")]
    NotConfigured,
    /// MongoDB does not answer. Nothing was dialled.
    #[error("the database does not answer; nothing was dialled")]
    NoDatabase,
}

/// The text for a refusal.
pub fn sentence(refused: Refused) -> &'static str {
    match refused {
        Refused::Declined => "ElevenLabs declined the call; the reason is in its document",
        Refused::Unauthorized => "ElevenLabs rejects the API key, or does not allow this call with it",
        Refused::Payment => "the ElevenLabs plan does not allow the call",
        Refused::NotFound => "ElevenLabs does not know the agent or its number",
        Refused::Invalid => "ElevenLabs does not accept the request; the reason is in the call's document",
        Refused::RateLimited => "ElevenLabs accepts no more calls at the moment; nothing was dialled",
        Refused::Unreachable => "ElevenLabs cannot be reached; nothing was dialled",
    }
}

impl PlacementError {
    /// What the caller is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(_) => Refusal::InvalidRequest,
            Self::Conflict => Refusal::IdempotencyConflict,
            Self::InProgress => Refusal::InProgress,
            Self::Refused(refused) => refused.refusal(),
            Self::OutcomeUnknown(_) => Refusal::OutcomeUnknown,
            Self::NotConfigured => Refusal::ElevenLabsNotConfigured,
            Self::NoDatabase => Refusal::DatabaseUnavailable,
        }
    }
}

impl From<StoreError> for PlacementError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Refused(_)) {
            return Self::Invalid("the request contains a value that the database cannot store".to_owned());
        }
        tracing::warn!(%error, "a call was not placed because MongoDB did not answer");
        Self::NoDatabase
    }
}
