//! Requests to ElevenLabs during a pass, repeated while its API does not answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::PassError;
use crate::{
    elevenlabs::{ApiError, ElevenLabs},
    retry::Pauses,
};

/// Delays between attempts while the API does not answer, and their total. A pass waits, because a new one
/// would start from the beginning of the window.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_mins(5);

/// Sends `request` when the API accepts requests. Repeats it while the rate limit is exceeded or the API is
/// unavailable.
///
/// # Errors
/// The process stops, the API refuses the request, or it is unavailable for longer than [`TIMEOUT`].
pub async fn request<T, F>(
    api: &ElevenLabs,
    stop: &CancellationToken,
    request: impl Fn() -> F,
) -> Result<T, PassError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    let mut pauses = Pauses::within(FIRST_DELAY, MAX_DELAY, TIMEOUT);
    loop {
        if !api.gate.wait_until_open(stop).await {
            return Err(PassError::Stopped);
        }
        let Some(answer) = stop.run_until_cancelled(request()).await else {
            return Err(PassError::Stopped);
        };
        match answer {
            Err(ApiError::RateLimited { .. }) => {} // The gate is closed now and opens when the limit has passed.
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
