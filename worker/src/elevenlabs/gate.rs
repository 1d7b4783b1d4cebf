//! The gate for all requests to the API. It is closed while ElevenLabs limits the rate or refuses the key.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ApiError;

/// Pause after a refused key. Once an operator has changed the key at ElevenLabs, requests succeed again.
const KEY_PAUSE: Duration = Duration::from_mins(1);
/// Pause after a 429 without `Retry-After`.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(5);
/// Shortest pause after a 429. `Retry-After` may be 0, or a date that is past by the clock of this machine.
const MIN_RATE_LIMIT_PAUSE: Duration = Duration::from_millis(500);

/// The gate. All users of the API in this process share one. Cheap to clone. A clock that is corrected does not change
/// its pauses.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    /// How long the gate stays closed. `None` if it is open.
    pub fn closed_for(&self) -> Option<Duration> {
        let opens_at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(opens_at?.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// Waits until the gate is open. Returns `false` if the process stops before.
    pub async fn wait_until_open(&self, stop: &CancellationToken) -> bool {
        while let Some(wait) = self.closed_for() {
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return false;
            }
        }
        !stop.is_cancelled()
    }

    /// Closes the gate if `error` concerns every request. A refused key is logged as an error.
    pub fn close_after(&self, error: &ApiError) {
        let Some(pause) = pause(error) else { return };
        if matches!(error, ApiError::Unauthorized(_)) {
            tracing::error!(%error, pause_s = pause.as_secs(), "requests to ElevenLabs are paused, and transcripts with them: ELEVENLABS_API_KEY is refused");
        } else {
            tracing::warn!(%error, pause_ms = pause.as_millis(), "pausing all requests to ElevenLabs");
        }
        let opens_at = Some(Instant::now() + pause);
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (*current).max(opens_at);
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

    #[tokio::test(start_paused = true)]
    async fn the_gate_stays_closed_for_the_longest_of_several_pauses() {
        let gate = Gate::default();
        gate.close_after(&ApiError::NotFound);
        assert_eq!(gate.closed_for(), None);
        gate.close_after(&ApiError::Unauthorized(StatusCode::UNAUTHORIZED));
        gate.close_after(&ApiError::RateLimited { retry_after: Some(Duration::from_secs(1)) });
        assert_eq!(gate.closed_for(), Some(KEY_PAUSE));
        tokio::time::advance(KEY_PAUSE).await;
        assert_eq!(gate.closed_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_always_closes_the_gate() {
        let gate = Gate::default();
        gate.close_after(&ApiError::RateLimited { retry_after: Some(Duration::ZERO) });
        assert_eq!(gate.closed_for(), Some(MIN_RATE_LIMIT_PAUSE));
    }
}
