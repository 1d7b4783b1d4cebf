//! Requests about calls. The gateway passes them on to a worker as NATS requests, so it needs no database.
//!
//! [`access`] decides whether a request is served. A worker chooses the content of the answer.
//!
//! Invariant: a worker can choose only the statuses that the contract lists. An answer with any other status
//! becomes `bad_answer`.

use std::time::Duration;

use aftercall_common::{
    contract::{
        agent_calls::{ERROR_CODE_HEADER, IDEMPOTENCY_KEY_HEADER, PLACE_SUBJECT, STATUS_SUBJECT},
        streams::header::TRACEPARENT,
    },
    json::BYTE_ORDER_MARK,
    process::broker,
};
use async_nats::{
    Client, Message, Request,
    client::RequestErrorKind,
    service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE},
};
use bytes::Bytes;
use hyper::{StatusCode, header::HeaderValue};

use super::{
    rejection::{Rejection, WorkerRefusal},
    request::{RequestBody, RequestHead},
};
use crate::admission::{
    access::{self, Access},
    body::{
        Budgets, Limits, Trust,
        encoding::{self, Unpacking},
    },
    checks::AuthenticityError,
    json,
};

/// Largest body of a request, in bytes: identifiers, or the parameters of one call.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Longest wait for a status. The worker may have to ask ElevenLabs first.
const STATUS_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for a placement. More than the worker's own limit of 45 s.
const PLACE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// Longest code that is passed on, in bytes.
const MAX_CODE: usize = 64;
/// Longest detail that is passed on, in characters.
const MAX_DETAIL: usize = 1024;

/// Passes requests about calls on to workers.
#[derive(Debug)]
pub(crate) struct AgentCalls {
    client: Client,
    budgets: Budgets,
    body_timeout: Duration,
}

impl AgentCalls {
    /// Asks workers through `client`.
    pub fn new(client: Client, budgets: Budgets, body_timeout: Duration) -> Self {
        Self { client, budgets, body_timeout }
    }

    /// Asks a worker for the status of a call. Returns the JSON of the worker.
    pub async fn status(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Bytes, Rejection> {
        let query = self.read(Access::Read, head, body).await?;
        let headers = headers(head.trace_context().as_deref());
        let request = Request::new().payload(query).timeout(Some(STATUS_TIMEOUT)).headers(headers);
        ask(&self.client, STATUS_SUBJECT, request, Rejection::NoWorker).await
    }

    /// Asks a worker to place a call. Returns the JSON of the worker. The gateway never repeats the request,
    /// because a missing answer does not show whether the call was placed.
    pub async fn place(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Bytes, Rejection> {
        let placement = self.read(Access::Full, head, body).await?;
        let mut headers = headers(head.trace_context().as_deref());
        if let Some(key) = head.parts.headers.get(IDEMPOTENCY_KEY_HEADER) {
            headers.insert(IDEMPOTENCY_KEY_HEADER, idempotency_key(key)?);
        }
        let request = Request::new().payload(placement).headers(headers).timeout(Some(PLACE_TIMEOUT));
        ask(&self.client, PLACE_SUBJECT, request, Rejection::OutcomeUnknown).await
    }

    /// Reads the JSON of a request that needs `access`.
    async fn read(
        &self,
        access: Access,
        head: &RequestHead,
        body: &mut RequestBody,
    ) -> Result<Bytes, Rejection> {
        const LIMIT: usize = MAX_BODY_BYTES;
        let headers = &head.parts.headers;
        let sender = head.sender.map_err(AuthenticityError::UnknownSender)?;
        access::authorize(&head.policy, access, headers, sender)?;
        if !json::is_json(headers) {
            return Err(Rejection::UnsupportedMediaType { detail: "Content-Type must be application/json." });
        }
        let encoding = encoding::encoding(headers)?;
        let budget = self.budgets.of(Trust::Api);
        let limits = Limits { max_bytes: LIMIT, max_joined_bytes: LIMIT, timeout: self.body_timeout };
        let mut body = body.read(limits, &self.budgets, Trust::Api).await?;
        Unpacking { encoding, max_bytes: LIMIT, max_joined_bytes: LIMIT, budget }.replace(&mut body)?;
        let body = body.whole();
        json::check(&body)?;
        let mark = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Ok(body.slice(mark..))
    }
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

/// Sends `request` to a worker. `no_answer` is the rejection if the worker does not answer.
async fn ask(
    client: &Client,
    subject: &'static str,
    request: Request,
    no_answer: Rejection,
) -> Result<Bytes, Rejection> {
    if !broker::is_connected(client) {
        return Err(Rejection::NoWorker);
    }
    match client.send_request(subject, request).await {
        Ok(answer) => parse_answer(&answer),
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

/// The JSON of an answer.
///
/// # Errors
/// The refusal of the worker, or a bad answer.
fn parse_answer(answer: &Message) -> Result<Bytes, Rejection> {
    let text = |name: &'static str| {
        answer.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string)
    };
    match (text(NATS_SERVICE_ERROR_CODE), text(NATS_SERVICE_ERROR)) {
        (None, None) if json::check(&answer.payload).is_ok() => Ok(answer.payload.clone()),
        (None, None) => Err(Rejection::BadAnswer),
        (status, detail) => Err(refusal(status.as_deref(), text(ERROR_CODE_HEADER), detail)),
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

#[cfg(test)]
mod tests;
