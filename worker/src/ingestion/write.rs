//! Writes the patches of a batch to the database until it accepts them.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::call::{Attachment, CallPatch},
    ports::Ports,
    retry::stopped_for,
    store::{self, Calls as _, PatchResult, StoreError},
};

/// First and longest pause between two attempts to write a batch.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a running write may take after the signal to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes until the database accepts the batch. `None` if the process stops before.
pub(super) async fn write_or_stop<P: Ports>(
    ports: &P,
    patches: &[CallPatch],
    files: &[(String, Attachment)],
    stop: &CancellationToken,
) -> Option<Vec<PatchResult>> {
    tokio::select! {
        biased;
        changes = write_with_retries(ports, patches, files, stop) => changes,
        // The running write may still succeed. That does no harm, because it can be repeated.
        () = stopped_for(stop, DRAIN_TIMEOUT) => None,
    }
}

/// Tries to write until it succeeds. `None` if the process stops between two attempts.
async fn write_with_retries(
    ports: &impl Ports,
    patches: &[CallPatch],
    files: &[(String, Attachment)],
    stop: &CancellationToken,
) -> Option<Vec<PatchResult>> {
    let report = |error: StoreError| {
        ports.metrics().store_retry();
        tracing::warn!(%error, calls = patches.len(), "calls not written to MongoDB; trying again");
    };
    let pauses = ports.pauses(RETRY_DELAY.0, RETRY_DELAY.1);
    pauses.until_done(stop, || write_once(ports, patches, files), report).await
}

/// Writes the files first, then the patches that point to them. Can be repeated.
///
/// # Errors
/// The database does not answer, or refuses a file.
pub async fn write_once(
    ports: &impl Ports,
    patches: &[CallPatch],
    files: &[(String, Attachment)],
) -> Result<Vec<PatchResult>, StoreError> {
    for (id, file) in files {
        ports.calls().save_file(id, file).await?;
    }
    store::apply(ports.calls(), patches).await
}
