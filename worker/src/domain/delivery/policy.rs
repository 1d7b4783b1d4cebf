//! Decides what follows from an attempt. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::Outcome;
use crate::domain::time::after;

/// Attempts for one message.
pub const MAX_ATTEMPTS: u32 = 8;
/// Pauses after the first seven attempts: together 27 hours and 35 minutes.
const PAUSES: [Duration; MAX_ATTEMPTS as usize - 1] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];
/// A pause is longer or shorter by up to this part of it, so that messages that failed together do not come back
/// together.
const JITTER: f64 = 0.1;
/// Longest `Retry-After` that is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(12);

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The message is delivered.
    Done,
    /// The message is sent again at this time.
    Retry(Timestamp),
    /// No further attempt is made.
    GiveUp,
    /// The endpoint is disabled, and the message waits until an operator resumes it.
    Disable,
}

/// Decides what follows from `outcome`. `attempt`: the number of this attempt, from 1. `jitter`: a random number
/// from 0 to 1.
pub fn next(outcome: &Outcome, attempt: u32, jitter: f64, now: Timestamp) -> Next {
    let asked = match outcome {
        Outcome::Accepted => return Next::Done,
        Outcome::Gone => return Next::Disable,
        Outcome::Failed(error) if !error.may_pass() => return Next::GiveUp,
        Outcome::Failed(_) => Duration::ZERO,
        Outcome::Refused { retry_after } => retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
    };
    let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(pause) = PAUSES.get(step) else { return Next::GiveUp };
    let pause = pause.mul_f64(1.0 + JITTER * (2.0 * jitter.clamp(0.0, 1.0) - 1.0));
    Next::Retry(after(now, pause.max(asked)))
}

#[cfg(test)]
mod tests {
    use super::{super::SendError, *};

    const FAILED: Outcome = Outcome::Failed(SendError::TimedOut);

    fn now() -> Timestamp {
        "2026-11-29T10:00:00Z".parse().unwrap()
    }

    fn pause(outcome: &Outcome, attempt: u32, jitter: f64) -> Option<Duration> {
        match next(outcome, attempt, jitter, now()) {
            Next::Retry(at) => Some(crate::domain::time::between(now(), at)),
            _ => None,
        }
    }

    #[test]
    fn eight_attempts_take_about_28_hours() {
        let pauses: Vec<_> = (1..=8).map_while(|attempt| pause(&FAILED, attempt, 0.5)).collect();
        assert_eq!(pauses.len(), 7);
        assert_eq!(pauses.iter().sum::<Duration>(), Duration::from_secs(5 + (27 * 60 + 35) * 60));
        assert_eq!(next(&FAILED, 8, 0.5, now()), Next::GiveUp);
        assert_eq!(pause(&FAILED, 3, 0.0), Some(Duration::from_mins(27)));
        assert_eq!(pause(&FAILED, 3, 1.0), Some(Duration::from_mins(33)));
    }

    #[test]
    fn each_outcome_has_its_consequence() {
        assert_eq!(next(&Outcome::Accepted, 1, 0.5, now()), Next::Done);
        assert_eq!(next(&Outcome::Gone, 1, 0.5, now()), Next::Disable);
        assert_eq!(next(&Outcome::Failed(SendError::MessageGone), 1, 0.5, now()), Next::GiveUp);
        assert_eq!(next(&Outcome::Failed(SendError::Unsendable), 1, 0.5, now()), Next::GiveUp);
        let refused = |wait: Option<u64>| Outcome::Refused { retry_after: wait.map(Duration::from_secs) };
        #[rustfmt::skip]
        let table = [
            (refused(None),              1, 5),
            (refused(Some(60)),          1, 60),          // longer than the schedule
            (refused(Some(60)),          2, 5 * 60),      // shorter than the schedule
            (refused(Some(u64::MAX)),    1, 12 * 60 * 60), // bounded
        ];
        for (outcome, attempt, seconds) in table {
            assert_eq!(
                pause(&outcome, attempt, 0.5),
                Some(Duration::from_secs(seconds)),
                "{outcome:?} {attempt}"
            );
        }
        // The last attempt is the last, whatever the receiver asks for.
        assert_eq!(next(&refused(Some(1)), MAX_ATTEMPTS, 0.5, now()), Next::GiveUp);
    }
}
