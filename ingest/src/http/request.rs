//! A request that the gateway is processing: its head, and its body.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    contract::streams,
    process::trace::{self, Span},
};
use hyper::{
    HeaderMap,
    body::{Body as _, Incoming},
    header::HeaderValue,
    http::request::Parts,
};

use super::routes::Route;
use crate::{
    admission::{
        body::{self, Body, BodyError, Budgets, Limits, Trust},
        source_ip::{Sender, UnknownSender},
    },
    config::Policy,
};

/// Bytes of a refused body that are read and dropped. A refused sender must not decide how much the gateway
/// reads.
const MAX_DISCARDED: usize = 256 * 1024;

/// Everything about a request besides its body.
pub(crate) struct RequestHead {
    pub route: Route,
    /// The policy for the whole request.
    pub policy: Arc<Policy>,
    pub parts: Parts,
    /// The address of the connection.
    pub peer: IpAddr,
    /// The sender. Behind a trusted proxy, the sender is the client of the proxy and not the peer.
    pub sender: Result<Sender, UnknownSender>,
    pub span: Span,
    /// The value of `X-Request-Id`.
    pub id: HeaderValue,
    pub started: Instant,
}

impl RequestHead {
    /// The trace context for everything that the request causes.
    pub fn trace_context(&self) -> Option<String> {
        self.span.traceparent().or_else(|| traceparent(&self.parts.headers).map(str::to_owned))
    }
}

/// The trace context that a request came with.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(streams::header::TRACEPARENT)?.to_str().ok().filter(|value| trace::is_traceparent(value))
}

/// The body of a request.
pub(crate) struct RequestBody {
    incoming: Incoming,
    received: usize,
    /// The trust with which the body was read. `None`: it was not read.
    trust: Option<Trust>,
}

impl RequestBody {
    /// A body of which nothing was read.
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, received: 0, trust: None }
    }

    /// The size of the body in bytes. 0 until the body was read.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The size of the body in bytes, if the sender announced it.
    pub fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Whether nothing of the body is left to read.
    pub fn is_complete(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Reads the body within `limits` and the budget for senders with this `trust`.
    pub async fn read(&mut self, limits: Limits, budgets: &Budgets, trust: Trust) -> Result<Body, BodyError> {
        self.trust = Some(trust);
        let body = body::read(&mut self.incoming, limits, budgets.of(trust)).await?;
        self.received = body.len();
        Ok(body)
    }

    /// Reads and drops the rest of the body, for at most `time`. Only for trusted senders as much as they send.
    pub async fn discard(&mut self, time: Duration) {
        let max_bytes = match self.trust {
            Some(Trust::Provider | Trust::Api) => usize::MAX,
            Some(Trust::Unverified | Trust::Unlisted) | None => MAX_DISCARDED,
        };
        body::discard(&mut self.incoming, time, max_bytes).await;
    }
}
