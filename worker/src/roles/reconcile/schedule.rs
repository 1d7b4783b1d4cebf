//! Schedules passes: at the start, every `RECONCILE_EVERY`, and at once after the broker was away or lost
//! webhooks.
//!
//! A lease in the database makes sure that only one worker runs a pass. A window reaches back before the end of the
//! previous window, so no conversation falls between two windows.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    error::PassError,
    losses::LossDetector,
    pass::pass,
    trigger::{Pending, Trigger},
    window::{Window, default_since, since},
};
use crate::{
    Context, domain::time::between, elevenlabs::ElevenLabs, metrics::PassOutcome, retry::Pauses, store::Lease,
};

/// Duration of the lease. If the worker with the lease dies, the other workers wait this long before one of
/// them runs a pass.
const LEASE: Duration = Duration::from_mins(2);
/// Interval at which an urgent pass asks for the lease while another worker has it.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Interval at which the role checks for a new connection to the broker.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Interval at which the broker is asked whether it lost webhooks.
const LOSS_CHECK_INTERVAL: Duration = Duration::from_secs(30);
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);

/// Runs passes until `stop`.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let owner = format!("{:016x}", rand::random::<u64>());
    let mut connects = context.nats.statistics().connects.load(Ordering::Relaxed);
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    let mut losses = LossDetector::default();
    let mut pending = Pending { trigger: Trigger::Scheduled, since: Timestamp::now() };
    while !stop.is_cancelled() {
        pending = pending.or(losses.check(&context).await, Timestamp::now());
        match run_if_due(&context, &api, &owner, pending, &stop).await {
            // After `continue`, the next attempt has the same trigger.
            Ok(Attempt::LeaseTaken) if pending.outlasts_other_pass() => {
                stop.run_until_cancelled(tokio::time::sleep(LEASE_POLL_INTERVAL)).await;
                continue;
            }
            Ok(Attempt::Ended | Attempt::LeaseTaken) => pauses.reset(),
            Err(PassError::Stopped) => break,
            Err(error) => {
                context.metrics.reconciliation(PassOutcome::Failed);
                tracing::warn!(%error, "a reconciliation pass failed; trying again");
                pauses.sleep(&stop).await;
                continue;
            }
        }
        match next_trigger(&context, &mut losses, &mut connects, &stop).await {
            Some(trigger) => pending = Pending { trigger, since: Timestamp::now() },
            None => return,
        }
    }
}

/// Waits until the next pass is due or urgent, and returns its trigger. `None`: the process stops.
async fn next_trigger(
    context: &Context,
    losses: &mut LossDetector,
    connects: &mut u64,
    stop: &CancellationToken,
) -> Option<Trigger> {
    let statistics = context.nats.statistics();
    // Random, so that the workers do not ask for the lease at the same time.
    let wait = context.config.reconcile_every.mul_f64(rand::rng().random_range(0.8..=1.0));
    let due = Instant::now() + wait;
    let mut next_check = Instant::now() + LOSS_CHECK_INTERVAL;
    let mut trigger = Trigger::Scheduled;
    while Instant::now() < due && trigger == Trigger::Scheduled {
        stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL.min(wait))).await?;
        let now = statistics.connects.load(Ordering::Relaxed);
        if now != *connects {
            trigger = Trigger::Reconnected;
        } else if Instant::now() >= next_check {
            trigger = losses.check(context).await;
            next_check = Instant::now() + LOSS_CHECK_INTERVAL;
        }
        *connects = now;
    }
    Some(trigger)
}

/// How an attempt to run a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The pass is complete, or no pass was needed.
    Ended,
    /// Another worker has the lease.
    LeaseTaken,
}

/// Runs a pass if `pending` needs one, unless another worker runs a pass.
async fn run_if_due(
    context: &Context,
    api: &ElevenLabs,
    owner: &str,
    pending: Pending,
    stop: &CancellationToken,
) -> Result<Attempt, PassError> {
    let now = Timestamp::now();
    if !context.store.lease(Lease::Pass, owner, now, LEASE).await? {
        return Ok(Attempt::LeaseTaken);
    }
    let last = context.store.last_pass().await?;
    if !pending.needs_pass(last, now, context.config.reconcile_every) {
        context.store.end_pass(owner, None).await?;
        return Ok(Attempt::Ended);
    }
    let since = match pending.trigger {
        Trigger::Scheduled | Trigger::Reconnected => since(last, now),
        Trigger::DataLoss => since(last, now).min(default_since(now)),
    };
    let window = Window { since, until: now, rate: context.config.reconcile_rate, dry_run: false };
    let outcome = tokio::select! {
        outcome = pass(context, api, window, stop, |_| ()) => outcome,
        error = keep_lease(context, owner) => Err(error),
    };
    let ended = context.store.end_pass(owner, outcome.is_ok().then_some(now)).await;
    let report = outcome?;
    ended?;
    context.metrics.reconciliation(PassOutcome::Complete);
    context.metrics.reconciled(&report, now);
    tracing::info!(
        since = %window.since,
        conversations = report.seen,
        foreign = report.foreign,
        published = report.findings.len(),
        unusable = report.unusable.len(),
        unconcluded = report.unconcluded,
        placements_given_up = report.given_up,
        duration_ms = between(now, Timestamp::now()).as_millis(),
        "conversations reconciled"
    );
    Ok(Attempt::Ended)
}

/// Renews the lease while a pass runs. Returns when the lease is lost, or could not be renewed for half of its duration:
/// the pass ends before another worker can take the lease.
async fn keep_lease(context: &Context, owner: &str) -> PassError {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(LEASE / 4).await;
        let asked = Instant::now();
        match context.store.lease(Lease::Pass, owner, Timestamp::now(), LEASE).await {
            Ok(true) => renewed = asked,
            Ok(false) => return PassError::LeaseLost,
            Err(error) if renewed.elapsed() > LEASE / 2 => return error.into(),
            Err(error) => {
                tracing::warn!(%error, "the lease of a reconciliation pass was not renewed; trying again");
            }
        }
    }
}
