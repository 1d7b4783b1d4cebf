//! Requests to a worker, and its answers.
//!
//! Invariant: a worker can choose only the statuses that the contract lists. An answer with any other status
//! becomes `bad_answer`.

use std::{pin::pin, time::Duration};

use aftercall_common::{
    contract::agent_calls::ERROR_CODE_HEADER, contract::streams::header::TRACEPARENT, process::broker,
};
use async_nats::{
    Client, HeaderMap, Message, Request,
    client::RequestErrorKind,
    service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE},
};
use bytes::Bytes;
use futures_util::future::{Either, select};
use hyper::StatusCode;

use crate::{
    admission::json,
    http::rejection::{Rejection, WorkerRefusal},
};

/// Longest code that is passed on, in bytes.
const MAX_CODE: usize = 64;
/// Longest detail that is passed on, in characters.
pub(super) const MAX_DETAIL: usize = 1024;

/// How long a request that only reads waits for its answer before it is sent a second time.
///
/// A request is lost if its worker is killed. A worker that stops loses what arrives between the end of its
/// subscription in the client and in the broker: the client offers no way to wait for these requests.
const REPEAT_AFTER: Duration = Duration::from_secs(3);

/// The headers of a request with this trace context.
pub fn headers(trace: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, trace);
    }
    headers
}

/// Sends `request` to a worker. `no_answer` is the rejection if the worker does not answer.
///
/// # Errors
/// No answer, or the refusal of the worker.
pub async fn ask(
    client: &Client,
    subject: &'static str,
    request: Request,
    no_answer: Rejection,
) -> Result<Message, Rejection> {
    if !broker::is_connected(client) {
        return Err(Rejection::NoWorker);
    }
    match client.send_request(subject, request).await {
        Ok(answer) => check(answer),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => Err(Rejection::NoWorker),
            RequestErrorKind::TimedOut => Err(no_answer),
            RequestErrorKind::InvalidSubject
            | RequestErrorKind::MaxPayloadExceeded
            | RequestErrorKind::Other => {
                tracing::warn!(%error, subject, "the request could not be sent to a worker");
                Err(no_answer)
            }
        },
    }
}

/// Sends a request that only reads to a worker, and a second time if there is no answer after some seconds. The
/// first answer counts. Gives up after `timeout`.
///
/// # Errors
/// No answer, or the refusal of the worker.
pub async fn read(
    client: &Client,
    subject: &'static str,
    payload: Bytes,
    headers: HeaderMap,
    timeout: Duration,
) -> Result<Message, Rejection> {
    let request = |timeout| {
        let request = Request::new().payload(payload.clone()).headers(headers.clone());
        ask(client, subject, request.timeout(Some(timeout)), Rejection::NoWorker)
    };
    let mut first = pin!(request(timeout));
    if let Ok(answer) = tokio::time::timeout(REPEAT_AFTER, &mut first).await {
        return answer;
    }
    match select(first, pin!(request(timeout.saturating_sub(REPEAT_AFTER)))).await {
        Either::Left((Err(Rejection::NoWorker), second)) => second.await,
        Either::Right((Err(Rejection::NoWorker), first)) => first.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

/// The text of a header of an answer.
pub fn text(answer: &Message, name: &'static str) -> Option<String> {
    answer.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string)
}

/// Passes on an answer that is no refusal.
pub(super) fn check(answer: Message) -> Result<Message, Rejection> {
    match (text(&answer, NATS_SERVICE_ERROR_CODE), text(&answer, NATS_SERVICE_ERROR)) {
        (None, None) => Ok(answer),
        (status, detail) => Err(refusal(status.as_deref(), text(&answer, ERROR_CODE_HEADER), detail)),
    }
}

/// The rejection that the error headers of a worker mean.
fn refusal(status: Option<&str>, code: Option<String>, detail: Option<String>) -> Rejection {
    let (status, usual_code) = match status {
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
        code: code.filter(is_code).unwrap_or_else(|| usual_code.to_owned()),
        detail: detail.unwrap_or_default().chars().take(MAX_DETAIL).collect(),
    })
}

/// The JSON of an answer.
pub fn json_of(answer: Message) -> Result<Bytes, Rejection> {
    if json::check(&answer.payload).is_ok() { Ok(answer.payload) } else { Err(Rejection::BadAnswer) }
}
