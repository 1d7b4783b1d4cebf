//! The reasons why the outcome of a job is not stored.

use crate::store::StoreError;

/// The reason why the outcome of a job was not stored. The broker delivers the job again.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// MongoDB did not store it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker did not store the job that follows.
    #[error("the job could not be scheduled: {0}")]
    Broker(async_nats::Error),
    /// This job may no longer write the recording, because it paused for too long.
    #[error("another job writes the recording")]
    Superseded,
    /// The document of the call was replaced meanwhile.
    #[error("the documents of the call were being merged")]
    Moved,
}
