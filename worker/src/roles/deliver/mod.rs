//! The role `deliver`: the operator's systems hear of calls. It publishes what changed in the calls to the stream
//! `CALLS`, and posts events and webhooks to endpoints.
//!
//! It follows the change stream of the database, so the path from a webhook to its document does nothing for
//! it. One worker leads at a time, by a lease. A change is published at least once, and its message id lets
//! the broker drop repetitions. The position in the change stream is stored after its changes are published.
//!
//! Invariant: the messages of a call are in the order of its revisions, also while two workers believe to
//! lead: see [`OrderedPublisher`](crate::broker::ordered_publish::OrderedPublisher).
//!
//! - `lead`: opens the change stream, follows it, and scans the calls if the stream no longer reaches back.
//! - `publish`: reads the changed calls and publishes their messages.
//! - `collect`, `message`: join changes of one call, and build messages. Pure.
//! - [`endpoints`]: posts to URLs what the streams hold.

mod collect;
pub mod endpoints;
mod lead;
mod message;
mod publish;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    Context,
    retry::{Pauses, stopped_for},
    store::{Lease, StoreError},
};

/// Duration of the leader's lease. If the leader is killed, changes wait this long for another worker.
const LEASE: Duration = Duration::from_secs(10);
/// Interval at which the leader extends its lease, and at which the others try to get it.
const LEASE_INTERVAL: Duration = Duration::from_secs(3);
/// How long the leader may go on after the signal to stop. What it published and did not record is published again by
/// the next leader, and the broker drops it.
const LEADER_DRAIN: Duration = Duration::from_secs(2);

/// Runs the role until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let publishing = async {
        tokio::select! {
            () = publish_changes(context.clone(), stop.clone()) => {}
            () = stopped_for(&stop, LEADER_DRAIN) => {
                tracing::warn!("the publisher of changes did not stop in time: MongoDB or the broker did not answer");
            }
        }
    };
    tokio::join!(publishing, endpoints::run(context.clone(), stop.clone()));
}

/// Publishes changes whenever this worker has the lease, until `stop`.
async fn publish_changes(context: Arc<Context>, stop: CancellationToken) {
    let owner = format!("{:016x}", rand::random::<u64>());
    let mut pauses = Pauses::endless(lead::FIRST_RETRY_DELAY, lead::MAX_RETRY_DELAY);
    while !stop.is_cancelled() {
        match take_lease(&context, &owner).await {
            Ok(true) => {
                if lead_until_stopped(&context, &owner, &stop).await {
                    pauses.reset();
                }
                pauses.sleep(&stop).await;
            }
            Ok(false) => {
                stop.run_until_cancelled(tokio::time::sleep(LEASE_INTERVAL)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "changes of calls are not published: MongoDB did not answer; trying again");
                pauses.sleep(&stop).await;
            }
        }
    }
    if let Err(error) = context.store.end_lease(Lease::Deliver, &owner).await {
        tracing::debug!(%error, "the lease for publishing changes is not returned; it ends by itself");
    }
}

/// Leads until `stop`, until an error, or until another worker has the lease. Returns whether it could publish.
async fn lead_until_stopped(context: &Arc<Context>, owner: &str, stop: &CancellationToken) -> bool {
    let leading = stop.child_token();
    let keep = async {
        keep_lease(context, owner, &leading).await;
        leading.cancel();
    };
    let lead = async {
        let led = lead::lead(context, &leading).await;
        leading.cancel();
        led
    };
    let (result, ()) = tokio::join!(lead, keep);
    match result {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "changes of calls are not published; trying again");
            false
        }
    }
}

async fn take_lease(context: &Context, owner: &str) -> Result<bool, StoreError> {
    context.store.lease(Lease::Deliver, owner, Timestamp::now(), LEASE).await
}

/// Extends the lease until `leading` is cancelled, or until another worker has it.
async fn keep_lease(context: &Context, owner: &str, leading: &CancellationToken) {
    while leading.run_until_cancelled(tokio::time::sleep(LEASE_INTERVAL)).await.is_some() {
        match take_lease(context, owner).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("another worker publishes changes of calls now");
                return;
            }
            // Two leaders are harmless, so the lease may end while the database does not answer.
            Err(error) => {
                tracing::warn!(%error, "the lease for publishing changes is not extended; trying again");
            }
        }
    }
}
