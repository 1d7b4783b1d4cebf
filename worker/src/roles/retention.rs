//! Deletes the files of recordings and large transcripts, and the notes on calls, that are older than
//! `RETENTION_DAYS`. MongoDB deletes expired calls by a TTL index, but neither their files nor their notes.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::Context;

/// Interval between two searches for old files.
const INTERVAL: Duration = Duration::from_hours(1);

/// Deletes files that were stored longer ago than `retention`, until `stop`.
pub(crate) async fn run(context: Arc<Context>, retention: Duration, stop: CancellationToken) {
    stop.run_until_cancelled(delete_forever(&context, retention)).await;
}

async fn delete_forever(context: &Context, retention: Duration) {
    loop {
        let oldest_kept = Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        if let Err(error) = context.store.erase_old_notes(oldest_kept).await {
            tracing::warn!(%error, "notes on calls older than RETENTION_DAYS were not deleted; trying again in an hour");
        }
        match context.store.erase_old_recordings(oldest_kept).await {
            Ok(0) => {}
            Ok(erased) => {
                tracing::info!(erased, "deleted recordings and transcripts older than RETENTION_DAYS");
            }
            Err(error) => {
                tracing::warn!(%error, "recordings and transcripts older than RETENTION_DAYS were not deleted; trying again in an hour");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
