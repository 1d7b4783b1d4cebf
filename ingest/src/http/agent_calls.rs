//! Questions about calls, and how a worker is asked. Who may ask is decided in [`crate::admission::access`].
//!
//! They travel as NATS requests, so the gateway holds no database. Invariant: a worker chooses the
//! answer's content, but only among the statuses of the contract; anything else is a bad answer.

use std::time::Duration;

use aftercall_common::{
    contract::{
        agent_calls::{ERROR_CODE_HEADER, IDEMPOTENCY_KEY_HEADER, PLACE_SUBJECT, STATUS_SUBJECT},
        streams::header::TRACEPARENT,
    },
    process::broker,
};
use async_nats::{
    Client, Message, Request,
    client::RequestErrorKind,
    service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE},
};
use bytes::Bytes;
use hyper::{StatusCode, header::HeaderValue};

use super::rejection::{Rejection, WorkerRefusal};
use crate::admission::json;

/// Largest request body: identifiers, or the parameters of one call.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// A worker may have to ask `ElevenLabs` first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Placing a call takes `ElevenLabs` longer. More than the worker's own limit of 45 s.
const PLACE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest `Idempotency-Key`.
const MAX_KEY: usize = 255;
/// Longest code and detail passed on.
const MAX_CODE: usize = 64;
const MAX_DETAIL: usize = 1024;

/// Asks a worker for the status of a call and returns its JSON as it is.
pub async fn status(client: &Client, question: Bytes, trace: Option<&str>) -> Result<Bytes, Rejection> {
    let request = Request::new().payload(question).timeout(Some(ANSWER_TIMEOUT)).headers(headers(trace));
    ask(client, STATUS_SUBJECT, request, Rejection::NoWorker).await
}

/// Has a worker place a call and returns its JSON as it is. Never asked twice: an answer that does
/// not come says nothing about the call.
pub async fn place(
    client: &Client,
    key: Option<&HeaderValue>,
    order: Bytes,
    trace: Option<&str>,
) -> Result<Bytes, Rejection> {
    let mut headers = headers(trace);
    if let Some(key) = key {
        headers.insert(IDEMPOTENCY_KEY_HEADER, idempotency_key(key)?);
    }
    let request = Request::new().payload(order).headers(headers).timeout(Some(PLACE_TIMEOUT));
    ask(client, PLACE_SUBJECT, request, Rejection::OutcomeUnknown).await
}

fn headers(trace: Option<&str>) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, trace);
    }
    headers
}

fn idempotency_key(key: &HeaderValue) -> Result<&str, Rejection> {
    let visible =
        |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let detail = "Idempotency-Key must be 1 to 255 visible ASCII characters.";
    key.to_str().ok().filter(visible).ok_or(Rejection::InvalidRequest { detail })
}

/// `silence` is what it means that a worker was asked and did not answer.
async fn ask(
    client: &Client,
    subject: &'static str,
    request: Request,
    silence: Rejection,
) -> Result<Bytes, Rejection> {
    if !broker::is_connected(client) {
        return Err(Rejection::NoWorker);
    }
    match client.send_request(subject, request).await {
        Ok(answer) => read(&answer),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => Err(Rejection::NoWorker),
            RequestErrorKind::TimedOut => Err(silence),
            RequestErrorKind::InvalidSubject
            | RequestErrorKind::MaxPayloadExceeded
            | RequestErrorKind::Other => {
                tracing::warn!(%error, subject, "a worker could not be asked");
                Err(silence)
            }
        },
    }
}

fn read(answer: &Message) -> Result<Bytes, Rejection> {
    let text = |name: &'static str| {
        answer.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string)
    };
    match (text(NATS_SERVICE_ERROR_CODE), text(NATS_SERVICE_ERROR)) {
        (None, None) if json::check(&answer.payload).is_ok() => Ok(answer.payload.clone()),
        (None, None) => Err(Rejection::BadAnswer),
        (status, detail) => Err(refusal(status.as_deref(), text(ERROR_CODE_HEADER), detail)),
    }
}

/// What a worker's error headers mean: `status` is the one of the answer.
fn refusal(status: Option<&str>, code: Option<String>, detail: Option<String>) -> Rejection {
    let (status, usual) = match status {
        Some("400") => (StatusCode::BAD_REQUEST, "bad_request"),
        Some("402") => (StatusCode::PAYMENT_REQUIRED, "payment_required"),
        Some("404") => (StatusCode::NOT_FOUND, "not_found"),
        Some("409") => (StatusCode::CONFLICT, "conflict"),
        Some("422") => (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable"),
        Some("429") => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
        Some("502") => (StatusCode::BAD_GATEWAY, "bad_gateway"),
        Some("503") => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Some("504") => (StatusCode::GATEWAY_TIMEOUT, "no_answer"),
        _ => return Rejection::BadAnswer,
    };
    let is_code = |code: &String| {
        (1..=MAX_CODE).contains(&code.len())
            && code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    Rejection::Worker(WorkerRefusal {
        status,
        code: code.filter(is_code).unwrap_or_else(|| usual.to_owned()),
        detail: detail.unwrap_or_default().chars().take(MAX_DETAIL).collect(),
    })
}

#[cfg(test)]
mod tests;
