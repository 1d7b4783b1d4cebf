//! Requests to ElevenLabs during a pass, repeated while its API does not answer.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::PassError;
use crate::{
    elevenlabs::{ApiError, Gate},
    retry::Pauses,
};

/// Delays between attempts while the API does not answer, and their total. A pass waits, because a new one
/// would start from the beginning of the window.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_mins(5);
/// Longest time that one request waits while ElevenLabs limits the rate.
const RATE_LIMIT_TIMEOUT: Duration = Duration::from_mins(30);

/// Sends `request` when the API accepts requests. Repeats it while the rate limit is exceeded or the API is
/// unavailable.
///
/// # Errors
/// The process stops, the API refuses the request, it is unavailable for longer than [`TIMEOUT`], or it limits the rate
/// for longer than [`RATE_LIMIT_TIMEOUT`].
pub async fn request<T, F>(
    gate: &Gate,
    stop: &CancellationToken,
    request: impl Fn() -> F,
) -> Result<T, PassError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut pauses = Pauses::within(FIRST_DELAY, MAX_DELAY, TIMEOUT);
    let began = Instant::now();
    loop {
        if !gate.wait_until_open(stop).await {
            return Err(PassError::Stopped);
        }
        let Some(answer) = stop.run_until_cancelled(request()).await else {
            return Err(PassError::Stopped);
        };
        match answer {
            // The gate is closed now and opens when the limit has passed.
            Err(ApiError::RateLimited { .. }) if began.elapsed() < RATE_LIMIT_TIMEOUT => {}
            Err(error @ ApiError::Unavailable(_)) => {
                let Some(pause) = pauses.pause() else { return Err(error.into()) };
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return Err(PassError::Stopped);
                }
            }
            answer => return Ok(answer?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_although_the_rate_limit_never_does() {
        let (gate, stop, began, requests) =
            (Gate::default(), CancellationToken::new(), Instant::now(), Cell::new(0));
        let limited = async || {
            requests.set(requests.get() + 1);
            let error = ApiError::RateLimited { retry_after: Some(Duration::from_mins(1)) };
            gate.close_after(&error);
            Err::<(), _>(error)
        };
        let answer = request(&gate, &stop, limited).await;
        assert!(matches!(answer, Err(PassError::Api(ApiError::RateLimited { .. }))), "{answer:?}");
        assert_eq!((began.elapsed(), requests.get()), (RATE_LIMIT_TIMEOUT, 31));
    }
}
