//! Recordings and large transcripts go when their calls do. Calls are erased by an index of the database, which
//! knows no files.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::Context;

/// How often old files are looked for.
const EVERY: Duration = Duration::from_hours(1);

/// Erases files older than `RETENTION_DAYS`, until `stop`.
pub(crate) async fn run(context: Arc<Context>, retention: Duration, stop: CancellationToken) {
    stop.run_until_cancelled(forever(&context, retention)).await;
}

async fn forever(context: &Context, retention: Duration) {
    loop {
        let then = Timestamp::now().checked_sub(retention).unwrap_or(Timestamp::MIN);
        match context.store.erase_old_recordings(then).await {
            Ok(0) => {}
            Ok(erased) => tracing::info!(erased, "old recordings and transcripts erased"),
            Err(error) => {
                tracing::warn!(%error, "old recordings and transcripts not erased; trying again in an hour");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
