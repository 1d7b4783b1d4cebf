//! Deletes recordings and large transcripts when their calls expire. MongoDB deletes the calls by a TTL
//! index, which does not delete files.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::Context;

/// Interval at which old files are searched.
const INTERVAL: Duration = Duration::from_hours(1);

/// Deletes files older than `retention` (`RETENTION_DAYS`), until `stop`.
pub(crate) async fn run(context: Arc<Context>, retention: Duration, stop: CancellationToken) {
    stop.run_until_cancelled(delete_forever(&context, retention)).await;
}

async fn delete_forever(context: &Context, retention: Duration) {
    loop {
        let oldest_kept = Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN);
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
