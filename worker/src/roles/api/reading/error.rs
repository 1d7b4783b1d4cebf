//! Errors of requests that read stored calls, with their codes and HTTP statuses. Pure.

use aftercall_common::contract::agent_calls::Refusal;

use crate::store::StoreError;

/// The reason why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// No stored call has the id.
    #[error("no stored call has this id")]
    NotFound,
    /// The call has no turns.
    #[error("the call has no transcript; {0}")]
    NoTranscript(&'static str),
    /// The call has no recording.
    #[error("the call has no recording")]
    NoRecording,
    /// The content changed since its first part was read.
    #[error("the content has changed meanwhile")]
    Changed,
    /// MongoDB does not answer.
    #[error("the database does not answer")]
    NoDatabase,
}

impl ReadingError {
    /// What the caller is told.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Invalid(_) => Refusal::InvalidRequest,
            Self::NotFound => Refusal::NotFound,
            Self::NoTranscript(_) => Refusal::NoTranscript,
            Self::NoRecording => Refusal::NoRecording,
            Self::Changed => Refusal::ContentChanged,
            Self::NoDatabase => Refusal::DatabaseUnavailable,
        }
    }
}

impl From<StoreError> for ReadingError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a request for calls failed because MongoDB did not answer");
        Self::NoDatabase
    }
}
