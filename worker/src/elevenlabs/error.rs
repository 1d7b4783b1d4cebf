//! The errors of the API. Pure.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;

use crate::domain::retry_after;

/// Longest `Retry-After` that is obeyed. After this time the worker sends requests again.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// Label of a request without a usable answer.
pub(super) const UNAVAILABLE: &str = "unavailable";

/// Why a request failed. Each variant has its own consequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 404. The conversation may appear later, because ElevenLabs creates conversations after calls.
    #[error("the conversation is not known to ElevenLabs")]
    NotFound,
    /// 401, 402 or 403, and a neutral request is refused as well: the key, the plan or the address of this
    /// process is refused. Concerns every request.
    #[error("ElevenLabs refuses the API key ({0})")]
    Unauthorized(StatusCode),
    /// 429. Concerns every request.
    #[error("ElevenLabs asks for fewer requests")]
    RateLimited {
        /// The time without requests, if ElevenLabs names one.
        retry_after: Option<Duration>,
    },
    /// 5xx, a network failure, or an answer that ends early.
    #[error("ElevenLabs is unavailable: {0}")]
    Unavailable(&'static str),
    /// Another 4xx, or 401, 402 or 403 to this request alone: ElevenLabs does not provide this conversation.
    #[error("ElevenLabs refuses this conversation ({0})")]
    Refused(StatusCode),
    /// The answer is larger than a document may be.
    #[error("the conversation is larger than can be stored")]
    TooLarge,
    /// 2xx, and the body does not have the expected form.
    #[error("the answer of ElevenLabs is not understood")]
    Unreadable,
}

impl ApiError {
    /// Whether the error concerns one conversation only, so that requests for others may succeed.
    pub fn concerns_one_conversation(&self) -> bool {
        match self {
            Self::NotFound | Self::Refused(_) | Self::TooLarge | Self::Unreadable => true,
            Self::Unauthorized(_) | Self::RateLimited { .. } | Self::Unavailable(_) => false,
        }
    }

    /// The stable label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized(_) => "unauthorized",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable(_) => UNAVAILABLE,
            Self::Refused(_) => "refused",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The error of an answer with a status that is no success.
pub(super) fn classify(status: StatusCode, retry_after: Option<&str>, now: Timestamp) -> ApiError {
    match status {
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN => {
            ApiError::Unauthorized(status)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = retry_after.and_then(|text| retry_after::read(text, now));
            ApiError::RateLimited { retry_after: wait.map(|wait| wait.min(MAX_RETRY_AFTER)) }
        }
        // The SDK of ElevenLabs repeats a request after 408 and 409, as after 5xx.
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => {
            ApiError::Unavailable("it asks to repeat the request")
        }
        status if status.is_client_error() => ApiError::Refused(status),
        _ => ApiError::Unavailable("server error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }

    #[test]
    fn each_status_has_its_error() {
        let now = Timestamp::UNIX_EPOCH;
        #[rustfmt::skip]
        let table = [
            (400, "refused"), (401, "unauthorized"), (402, "unauthorized"), (403, "unauthorized"),
            (404, "not_found"), (408, "unavailable"), (409, "unavailable"), (422, "refused"),
            (429, "rate_limited"), (500, "unavailable"), (502, "unavailable"), (503, "unavailable"),
            (302, "unavailable"),
        ];
        for (code, label) in table {
            assert_eq!(classify(status(code), None, now).label(), label, "{code}");
        }
    }

    #[test]
    fn the_longest_retry_after_is_ten_minutes() {
        let error = classify(status(429), Some("86400"), Timestamp::UNIX_EPOCH);
        assert_eq!(error, ApiError::RateLimited { retry_after: Some(Duration::from_mins(10)) });
    }
}
