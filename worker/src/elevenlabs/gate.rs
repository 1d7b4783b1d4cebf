//! One gate for all requests to the API: closed while the vendor asks for quiet or refuses the key.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::ApiError;
use crate::domain::time::{after, between};

/// Pause after a refused key: someone has to change it, and then work goes on by itself.
const KEY_PAUSE: Duration = Duration::from_mins(1);
/// Pause after a 429 that does not say how long.
const QUIET_PAUSE: Duration = Duration::from_secs(5);

/// Shared by everything in this process that asks the API. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Option<Timestamp>>>);

impl Gate {
    /// Until when the gate is closed; `None` when it is open at `now`.
    pub fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| *until > now)
    }

    /// Waits while the gate is closed. `false` once the process stops.
    pub async fn opened(&self, stop: &CancellationToken) -> bool {
        while let Some(until) = self.closed_until(Timestamp::now()) {
            let wait = between(Timestamp::now(), until);
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return false;
            }
        }
        !stop.is_cancelled()
    }

    /// Closes the gate where `error` concerns every request, and says so loudly for a refused key.
    pub fn heed(&self, error: &ApiError, now: Timestamp) {
        let Some(pause) = pause(error) else { return };
        if matches!(error, ApiError::Unauthorized(_)) {
            tracing::error!(%error, pause_s = pause.as_secs(), "transcripts are parked: ELEVENLABS_API_KEY is refused");
        } else {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "pausing all requests to ElevenLabs");
        }
        let until = after(now, pause);
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = (*closed).max(Some(until));
    }
}

/// How long everybody has to wait after `error`.
fn pause(error: &ApiError) -> Option<Duration> {
    match error {
        ApiError::Unauthorized(_) => Some(KEY_PAUSE),
        ApiError::RateLimited { retry_after } => Some(retry_after.unwrap_or(QUIET_PAUSE)),
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
    fn the_longest_pause_asked_for_holds() {
        let (gate, now) = (Gate::default(), Timestamp::UNIX_EPOCH);
        gate.heed(&ApiError::NotFound, now);
        assert_eq!(gate.closed_until(now), None);
        gate.heed(&ApiError::Unauthorized(StatusCode::UNAUTHORIZED), now);
        gate.heed(&ApiError::RateLimited { retry_after: Some(Duration::from_secs(1)) }, now);
        assert_eq!(gate.closed_until(now), Some(Timestamp::from_second(60).unwrap()));
        assert_eq!(gate.closed_until(Timestamp::from_second(60).unwrap()), None);
    }
}
