//! The gate for all requests to the API. It is closed while ElevenLabs limits the rate or refuses the key.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::ApiError;
use crate::domain::time::{after, between};

/// Pause after a refused key. Once an operator has changed the key at ElevenLabs, requests succeed again.
const KEY_PAUSE: Duration = Duration::from_mins(1);
/// Pause after a 429 without `Retry-After`.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(5);
/// Shortest pause after a 429. `Retry-After` may be 0, or a date that is past by the clock of this machine.
const MIN_RATE_LIMIT_PAUSE: Duration = Duration::from_millis(500);

/// The gate. All users of the API in this process share one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Option<Timestamp>>>);

impl Gate {
    /// The time until which the gate is closed. `None` if it is open at `now`.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > now)
    }

    /// Waits until the gate is open. Returns `false` if the process stops before.
    pub async fn wait_until_open(&self, stop: &CancellationToken) -> bool {
        while let Some(until) = self.closed_until(Timestamp::now()) {
            let wait = between(Timestamp::now(), until);
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return false;
            }
        }
        !stop.is_cancelled()
    }

    /// Closes the gate if `error` concerns every request. A refused key is logged as an error.
    pub fn close_after(&self, error: &ApiError, now: Timestamp) {
        let Some(pause) = pause(error) else { return };
        if matches!(error, ApiError::Unauthorized(_)) {
            tracing::error!(%error, pause_s = pause.as_secs(), "requests to ElevenLabs are paused, and transcripts with them: ELEVENLABS_API_KEY is refused");
        } else {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "pausing all requests to ElevenLabs");
        }
        let until = after(now, pause);
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(Some(until));
    }
}

/// How long all requests have to wait after `error`. `None` if the error concerns one request only.
fn pause(error: &ApiError) -> Option<Duration> {
    match error {
        ApiError::Unauthorized(_) => Some(KEY_PAUSE),
        ApiError::RateLimited { retry_after } => {
            Some(retry_after.unwrap_or(RATE_LIMIT_PAUSE).max(MIN_RATE_LIMIT_PAUSE))
        }
        ApiError::NotFound
        | ApiError::Unavailable(_)
        | ApiError::Refused(_)
        | ApiError::TooLarge
        | ApiError::Unreadable => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn the_gate_stays_closed_for_the_longest_of_several_pauses() {
        let (gate, now) = (Gate::default(), Timestamp::UNIX_EPOCH);
        gate.close_after(&ApiError::NotFound, now);
        assert_eq!(gate.closed_until(now), None);
        gate.close_after(&ApiError::Unauthorized(StatusCode::UNAUTHORIZED), now);
        gate.close_after(&ApiError::RateLimited { retry_after: Some(Duration::from_secs(1)) }, now);
        assert_eq!(gate.closed_until(now), Some(Timestamp::from_second(60).unwrap()));
        assert_eq!(gate.closed_until(Timestamp::from_second(60).unwrap()), None);
    }

    #[test]
    fn a_rate_limit_always_closes_the_gate() {
        let (gate, now) = (Gate::default(), Timestamp::UNIX_EPOCH);
        gate.close_after(&ApiError::RateLimited { retry_after: Some(Duration::ZERO) }, now);
        assert_eq!(gate.closed_until(now), Some(after(now, MIN_RATE_LIMIT_PAUSE)));
    }
}
