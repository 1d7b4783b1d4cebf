//! The reasons why a pass can fail.

use crate::{elevenlabs::ApiError, store::StoreError};

/// The reason why a pass failed. The events that the pass has published stay, and the pass can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// ElevenLabs gave no usable answer.
    #[error("ElevenLabs: {0}")]
    Api(#[from] ApiError),
    /// MongoDB does not answer.
    #[error("MongoDB: {0}")]
    Store(#[from] StoreError),
    /// The broker did not store an event.
    #[error("NATS: {0}")]
    Broker(String),
    /// The lease ran out before it was renewed, and another worker has it.
    #[error("another worker runs the reconciliation pass now")]
    LeaseLost,
    /// The process stops.
    #[error("interrupted because the process stops")]
    Stopped,
}
