//! Adds the last digits of numbers to the calls of an earlier version, so that the console finds them.
//!
//! The work begins with the first worker of this version, and takes one worker a few minutes for a million
//! calls. A second pass follows an hour later, because older workers may run beside the first one of this version.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    retry::Pauses,
    store::{FillState, Lease, StoreError},
};

/// Duration of the lease. If the worker is killed, the work waits this long for another one.
const LEASE: Duration = Duration::from_mins(1);
/// Pause between two parts, so that the work leaves most of the database's time to others.
const PAUSE: Duration = Duration::from_millis(100);
/// Interval at which new calls are examined, and at which the other workers try to get the lease.
const INTERVAL: Duration = Duration::from_secs(30);
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);

/// Works until everything is done, and then waits for `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let owner = format!("{:016x}", rand::random::<u64>());
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    while !stop.is_cancelled() {
        match work(&context, &owner).await {
            Ok(Some(pause)) => {
                pauses.reset();
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "calls of earlier versions are not found by the last digits of their numbers yet; trying again");
                pauses.sleep(&stop).await;
            }
        }
    }
    if let Err(error) = context.store.end_lease(Lease::NumberSuffixes, &owner).await {
        tracing::debug!(%error, "the lease for adding the last digits of numbers is not returned; it ends by itself");
    }
    stop.cancelled().await;
}

/// Does one part of the work. Returns the pause until the next one, or `None` if the work is finished.
async fn work(context: &Context, owner: &str) -> Result<Option<Duration>, StoreError> {
    if context.store.has_number_suffixes().await? {
        return Ok(None);
    }
    let now = Timestamp::now();
    if !context.store.lease(Lease::NumberSuffixes, owner, now, LEASE).await? {
        return Ok(Some(INTERVAL));
    }
    Ok(match context.store.fill_number_suffixes(now).await? {
        FillState::Behind => Some(PAUSE),
        FillState::UpToDate => Some(INTERVAL),
        FillState::Complete => {
            tracing::info!("every call is found by the last digits of its numbers");
            None
        }
    })
}
