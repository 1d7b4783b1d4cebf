//! Requests about calls. The gateway passes them on to a worker as NATS requests, so it needs no database.
//!
//! [`access`](crate::admission::access) decides whether a request is served. A worker chooses the content of the answer.
//!
//! Invariant: a bounded number of answers to readers is in memory, each of bounded size. Turns and recordings
//! travel in parts: see the module `parts`.

mod authorize;
mod conditional;
mod parts;
mod reading;
mod worker;

use std::time::Duration;

use aftercall_common::{
    contract::agent_calls::{
        IDEMPOTENCY_KEY_HEADER, PLACE_SUBJECT, PLACEMENT_ID_HEADER, REPLAYED_HEADER, STATUS_SUBJECT,
    },
    json::BYTE_ORDER_MARK,
};
use async_nats::{Client, Request};
use bytes::Bytes;
use hyper::header::HeaderValue;

pub(crate) use self::reading::{Content, Reading};
use self::{
    authorize::authorize,
    worker::{ask, headers, json_of, text},
};
use super::{
    rejection::Rejection,
    request::{RequestBody, RequestHead},
};
use crate::admission::{
    access::Access,
    body::{
        Budgets, Limits, Trust,
        encoding::{self, Unpacking},
    },
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

/// Passes requests about calls on to workers.
#[derive(Debug)]
pub(crate) struct AgentCalls {
    client: Client,
    budgets: Budgets,
    body_timeout: Duration,
    reading: Reading,
}

/// A call that was placed, or that a request with the same key placed before.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The JSON of the worker.
    pub body: Bytes,
    /// The id of the placement.
    pub id: Option<HeaderValue>,
    /// Whether an earlier request placed the call.
    pub is_replayed: bool,
}

impl AgentCalls {
    /// Asks workers through `client`.
    pub fn new(client: Client, budgets: Budgets, body_timeout: Duration) -> Self {
        let reading = Reading::new(client.clone());
        Self { client, budgets, body_timeout, reading }
    }

    /// Answers requests that only read stored calls.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Asks a worker for the status of a call. Returns the JSON of the worker.
    pub async fn status(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Bytes, Rejection> {
        let query = self.read(Access::Read, head, body).await?;
        let headers = headers(head.trace_context().as_deref());
        json_of(worker::read(&self.client, STATUS_SUBJECT, query, headers, STATUS_TIMEOUT).await?)
    }

    /// Asks a worker to place a call. The gateway never repeats the request, because a missing answer does not
    /// show whether the call was placed.
    pub async fn place(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Placed, Rejection> {
        let placement = self.read(Access::Full, head, body).await?;
        let mut headers = headers(head.trace_context().as_deref());
        if let Some(key) = head.parts.headers.get(IDEMPOTENCY_KEY_HEADER) {
            headers.insert(IDEMPOTENCY_KEY_HEADER, idempotency_key(key)?);
        }
        let request = Request::new().payload(placement).headers(headers).timeout(Some(PLACE_TIMEOUT));
        let answer = ask(&self.client, PLACE_SUBJECT, request, Rejection::OutcomeUnknown).await?;
        let id = text(&answer, PLACEMENT_ID_HEADER).and_then(|id| HeaderValue::try_from(id).ok());
        let is_replayed = text(&answer, REPLAYED_HEADER).is_some();
        Ok(Placed { body: json_of(answer)?, id, is_replayed })
    }

    /// Reads the JSON of a request that needs `access`.
    async fn read(
        &self,
        access: Access,
        head: &RequestHead,
        body: &mut RequestBody,
    ) -> Result<Bytes, Rejection> {
        const LIMIT: usize = MAX_BODY_BYTES;
        authorize(access, head)?;
        let headers = &head.parts.headers;
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

fn idempotency_key(key: &HeaderValue) -> Result<&str, Rejection> {
    let visible =
        |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let detail = "Idempotency-Key must be 1 to 255 visible ASCII characters.";
    key.to_str().ok().filter(visible).ok_or(Rejection::InvalidRequest { detail })
}

#[cfg(test)]
mod tests;
