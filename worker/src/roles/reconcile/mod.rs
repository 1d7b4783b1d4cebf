//! Makes up for webhooks that never came: asks ElevenLabs which conversations there were, and puts
//! the events of those nobody told of into the stream, as if they had come.
//!
//! As a role: one worker at a time, at the start, every `RECONCILE_EVERY`, and at once when the broker
//! was away or lost something. The window reaches back behind the last complete pass, so nothing falls between
//! two.

mod losses;
mod pass;
mod policy;
mod publish;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use self::losses::Losses;
pub use self::pass::{PassError, Window, pass};
pub use crate::domain::reconciliation::{Finding, Reason, Report, Unusable};
use crate::{Context, domain::time::between, elevenlabs::ElevenLabs, retry::Pauses};

/// How far a window reaches back behind the last complete pass: a call may last two hours.
const OVERLAP: Duration = Duration::from_hours(3);
/// The longest window, and the first one.
const LONGEST: Duration = Duration::from_hours(7 * 24);
const FIRST: Duration = Duration::from_hours(24);
/// How long a worker that died keeps the others from a pass.
const LEASE: Duration = Duration::from_mins(2);
/// How often it is looked whether there is something to do.
const TICK: Duration = Duration::from_millis(500);
/// How often the broker is asked whether it lost something.
const LOOK: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_mins(1);

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let owner = format!("{:016x}", rand::random::<u64>());
    let statistics = context.nats.statistics();
    let mut pauses = Pauses::endless(RETRY_FIRST, RETRY_MOST);
    let mut connects = statistics.connects.load(Ordering::Relaxed);
    let mut losses = Losses::default();
    let mut urgency = Urgency::Due;
    while !stop.is_cancelled() {
        let every = context.config.reconcile_every;
        urgency = urgency.max(losses.look(&context).await);
        match attempt(&context, &api, &owner, urgency, &stop).await {
            Ok(()) => pauses.reset(),
            Err(PassError::Stopped) => break,
            Err(error) => {
                context.metrics.reconciliation("failed");
                tracing::warn!(%error, "reconciliation broke off; trying again");
                pauses.sleep(&stop).await;
                continue; // As urgent as before.
            }
        }
        urgency = Urgency::Due;
        let wait = every.mul_f64(rand::rng().random_range(0.8..=1.0));
        let due = Instant::now() + wait;
        let mut look = Instant::now() + LOOK;
        while Instant::now() < due && urgency == Urgency::Due {
            if stop.run_until_cancelled(tokio::time::sleep(TICK.min(wait))).await.is_none() {
                return;
            }
            let now = statistics.connects.load(Ordering::Relaxed);
            if now != connects {
                urgency = Urgency::Outage;
            } else if Instant::now() >= look {
                urgency = losses.look(&context).await;
                look = Instant::now() + LOOK;
            }
            connects = now;
        }
    }
}

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// It is time.
    Due,
    /// The broker was away: now, whoever made one a moment ago.
    Outage,
    /// The broker lost what it had stored: now, and over a day at least.
    Loss,
}

/// A pass, unless another worker makes one or has just made it. Where it is urgent it is made anyway.
async fn attempt(
    context: &Context,
    api: &ElevenLabs,
    owner: &str,
    urgency: Urgency,
    stop: &CancellationToken,
) -> Result<(), PassError> {
    let now = Timestamp::now();
    if !context.store.lease_pass(owner, now, LEASE).await? {
        return Ok(());
    }
    let last = context.store.last_pass().await?;
    let fresh = last.is_some_and(|last| between(last, now) < context.config.reconcile_every / 2);
    if fresh && urgency == Urgency::Due {
        return Ok(context.store.end_pass(owner, None).await?);
    }
    let since = match urgency {
        Urgency::Due | Urgency::Outage => since(last, now),
        Urgency::Loss => since(last, now).min(default_since(now)),
    };
    let window = Window { since, until: now, rate: context.config.reconcile_rate, dry_run: false };
    let outcome = tokio::select! {
        outcome = pass(context, api, window, stop, |_| ()) => outcome,
        error = keep_lease(context, owner) => Err(error),
    };
    context.store.end_pass(owner, outcome.is_ok().then_some(now)).await?;
    let report = outcome?;
    context.metrics.reconciliation("complete");
    context.metrics.reconciled(&report, now);
    tracing::info!(
        since = %window.since,
        conversations = report.seen,
        published = report.findings.len(),
        unusable = report.unusable.len(),
        placements_given_up = report.given_up,
        duration_ms = between(now, Timestamp::now()).as_millis(),
        "reconciled"
    );
    Ok(())
}

/// Keeps the right to make a pass; ends when it cannot be kept.
async fn keep_lease(context: &Context, owner: &str) -> PassError {
    loop {
        tokio::time::sleep(LEASE / 4).await;
        match context.store.lease_pass(owner, Timestamp::now(), LEASE).await {
            Ok(true) => {}
            Ok(false) => return PassError::LeaseLost,
            Err(error) => return error.into(),
        }
    }
}

/// Where a window begins whose predecessor ended at `last`.
fn since(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let back = match last {
        Some(last) => between(last, now).saturating_add(OVERLAP).min(LONGEST),
        None => FIRST,
    };
    now.saturating_sub(back).unwrap_or(now)
}

/// The default window of the command.
pub fn default_since(now: Timestamp) -> Timestamp {
    now.saturating_sub(FIRST).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::after;

    #[test]
    fn windows_overlap_and_are_bounded() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let ago = |time: Duration| now.checked_sub(time).unwrap();
        assert_eq!(since(None, now), ago(FIRST));
        assert_eq!(since(Some(ago(Duration::from_mins(10))), now), ago(OVERLAP + Duration::from_mins(10)));
        assert_eq!(since(Some(ago(LONGEST * 2)), now), ago(LONGEST));
        assert_eq!(since(Some(after(now, FIRST)), now), ago(OVERLAP), "a clock that was ahead");
    }
}
