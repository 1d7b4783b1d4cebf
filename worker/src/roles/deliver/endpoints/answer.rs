//! The answer of an endpoint, and the errors of a request without one.

use std::{error::Error, io};

use jiff::Timestamp;
use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use super::resolver::PrivateAddress;
use crate::domain::{
    delivery::{Outcome, SendError, attempt::KEPT_ANSWER},
    retry_after,
};

/// Largest answer that is read to its end, in bytes. The connection of a larger one is closed.
const MAX_ANSWER: usize = 64 * 1024;

/// What an answer with this head means.
pub fn outcome(response: &Response, now: Timestamp) -> Outcome {
    match response.status() {
        status if status.is_success() => Outcome::Accepted,
        StatusCode::GONE => Outcome::Gone,
        _ => {
            let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
            Outcome::Refused { retry_after: wait.and_then(|wait| retry_after::read(wait, now)) }
        }
    }
}

/// Reads the body until its end, [`MAX_ANSWER`] or `deadline`, and returns its first [`KEPT_ANSWER`] bytes as text.
/// The status has decided, so an incomplete body is no error. `None`: the body is empty.
pub async fn excerpt(mut response: Response, deadline: Instant) -> Option<String> {
    let (mut kept, mut total) = (Vec::new(), 0);
    while total <= MAX_ANSWER
        && let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await
    {
        total += chunk.len();
        let room = KEPT_ANSWER.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(&chunk[..room]);
    }
    (!kept.is_empty()).then(|| String::from_utf8_lossy(&kept).into_owned())
}

/// The class of an error of the client. The error itself is not kept, because it holds the URL.
pub fn classify(error: &reqwest::Error) -> SendError {
    if cause::<PrivateAddress>(error).is_some() {
        SendError::PrivateAddress
    } else if let Some(rustls::Error::InvalidCertificate(_)) = cause(error) {
        SendError::Certificate
    } else if error.is_timeout() {
        SendError::TimedOut
    } else if error.is_connect() {
        SendError::NotConnected
    } else {
        SendError::Lost
    }
}

/// The error of the type `E` that is `error` or one of its causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The source of an I/O error is the source of the error in it, not that error itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
