//! Which request is whose, and its answer. The checks of a webhook are in [`crate::webhook`].
//!
//! Invariant: path and method first; a refused request leaves nothing but counts and a log line.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    agent_calls::IDEMPOTENCY_KEY_HEADER,
    http::{self, Reply},
    json::BYTE_ORDER_MARK,
    stream,
    trace::{self, Kind, Span, Tracer},
};
use async_nats::Client;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue, TRANSFER_ENCODING},
    http::request::Parts,
};

use crate::{
    Config, agent_calls,
    body::{self, Body, Budgets, Trust},
    encoding::{self, Encoding},
    json,
    message::WebhookId,
    metrics::Metrics,
    policy::{Live, Policy},
    publisher::{PublishError, Stored},
    rejection::Rejection,
    source_ip,
    storage::{Accepted, Storage},
    webhook::Provider,
};

/// Time a refused sender gets to finish sending, so that it reads the answer instead of a reset.
const LINGER: Duration = Duration::from_secs(1);

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A provider's webhooks.
    Webhook(Provider),
    /// Status of a call.
    AgentCallStatus,
    /// Calls to be placed.
    AgentCalls,
    /// Nothing.
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/api/webhooks/elevenlabs/call-status" => Self::Webhook(Provider::ElevenLabs),
            "/api/webhooks/twilio/call-status" => Self::Webhook(Provider::Twilio),
            "/api/agent-calls/status" => Self::AgentCallStatus,
            "/api/agent-calls" => Self::AgentCalls,
            _ => Self::Unknown,
        }
    }

    /// The span of a request.
    fn span(self) -> Option<&'static str> {
        match self {
            Self::Webhook(Provider::ElevenLabs) => Some("POST /api/webhooks/elevenlabs/call-status"),
            Self::Webhook(Provider::Twilio) => Some("POST /api/webhooks/twilio/call-status"),
            Self::AgentCallStatus => Some("POST /api/agent-calls/status"),
            Self::AgentCalls => Some("POST /api/agent-calls"),
            Self::Unknown => None,
        }
    }

    /// The word in metrics and log lines.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook(Provider::ElevenLabs) => "elevenlabs_call_status",
            Self::Webhook(Provider::Twilio) => "twilio_call_status",
            Self::AgentCallStatus => "agent_call_status",
            Self::AgentCalls => "agent_calls",
            Self::Unknown => "unknown",
        }
    }
}

/// What an accepted request is answered.
enum Success {
    Accepted { id: WebhookId, accepted: Accepted },
    Answer(Bytes),
    Placed(Bytes),
}

/// Everything a request needs.
#[derive(Debug)]
pub struct Gateway {
    /// The configuration.
    pub config: Config,
    /// The part of it that can change.
    pub policy: Live,
    /// The connection to the broker.
    pub client: Client,
    /// Stores webhooks.
    pub storage: Arc<Storage>,
    /// Bytes that requests may hold.
    pub budgets: Budgets,
    /// Counts.
    pub metrics: Metrics,
    /// Traces.
    pub tracer: Tracer,
}

/// What a request is judged by, and where it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// One for the whole request.
    pub policy: &'a Arc<Policy>,
    /// Its part of the trace.
    pub span: &'a Span,
    /// The address of the connection.
    pub peer: IpAddr,
    /// The address behind trusted proxies.
    pub client: Option<IpAddr>,
}

impl Gateway {
    /// Answers one request, logs one line, counts one.
    pub async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let policy = self.policy.get(); // One for the whole request, whatever changes meanwhile.
        let (parts, mut body) = request.into_parts();
        let route = Route::of(parts.uri.path());
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        let client = source_ip::client(peer.ip(), forwarded, &policy.trusted_proxies);
        let came_with = traceparent(&parts.headers);
        let mut span = match route.span() {
            Some(name) => self.tracer.span(name, Kind::Server, came_with),
            None => Span::default(),
        };
        let mut bytes = 0;
        let scope = Scope { policy: &policy, span: &span, peer: peer.ip(), client };
        let outcome = self.decide(route, &scope, &parts, &mut body, &mut bytes).await;
        let context = span.traceparent().or_else(|| came_with.map(str::to_owned));
        // Its length may also be given by a Content-Length that hyper drops: a proxy that goes by that would
        // take the rest for another request, so nothing after it is read (RFC 9112, section 6.1).
        let last = parts.headers.contains_key(TRANSFER_ENCODING);
        let trace_id = context.as_deref().and_then(trace::trace_id);
        let line = Line { route: route.label(), peer: peer.ip(), client, bytes, started, trace_id };
        let mut reply = match outcome {
            Ok(success) => {
                self.metrics.request(route.label(), "ok", started.elapsed());
                line.accepted(&success);
                let mut reply = success.reply();
                reply.extensions_mut().insert(http::Authenticated);
                reply
            }
            Err(rejection) => {
                self.metrics.request(route.label(), rejection.label(), started.elapsed());
                line.refused(&rejection);
                span.fail(rejection.label());
                // Nobody is asked to send a body that is refused already.
                if !body.is_end_stream()
                    && rejection != Rejection::BodyTimeout
                    && !parts.headers.contains_key(EXPECT)
                {
                    body::discard(&mut body, LINGER).await;
                }
                rejection.reply()
            }
        };
        span.set("http.response.status_code", || i64::from(reply.status().as_u16()));
        if last || !body.is_end_stream() {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    async fn decide(
        &self,
        route: Route,
        scope: &Scope<'_>,
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<Success, Rejection> {
        let Scope { policy, span, peer, client } = *scope;
        if route == Route::Unknown {
            return Err(Rejection::NotFound);
        }
        if parts.method != Method::POST {
            return Err(Rejection::MethodNotAllowed);
        }
        // What its body is packed in belongs into Content-Encoding: the framing itself is never compressed here.
        if parts.headers.get_all(TRANSFER_ENCODING).iter().any(|value| http::compresses(value.as_bytes())) {
            return Err(Rejection::UnsupportedTransferEncoding);
        }
        let context = || span.traceparent().or_else(|| traceparent(&parts.headers).map(str::to_owned));
        match route {
            Route::Unknown => Err(Rejection::NotFound),
            Route::Webhook(provider) => {
                let outcome = self.webhook(provider, scope, parts, body, bytes).await;
                // What comes from elsewhere is no failure in the provider's eyes; see `webhook`.
                if !matches!(outcome, Err(Rejection::SourceNotAllowed)) {
                    self.metrics.webhook(route.label(), outcome.is_ok());
                }
                outcome.map(|(id, accepted)| Success::Accepted { id, accepted })
            }
            Route::AgentCallStatus => {
                agent_calls::authorize(policy.api_token.as_ref(), &parts.headers, peer, client)?;
                let question = self.question(&parts.headers, body, bytes).await?;
                let context = context();
                // Boxed, as below: questions are few, and webhooks are not to hold memory for them.
                Box::pin(agent_calls::status(&self.client, question, context.as_deref()))
                    .await
                    .map(Success::Answer)
            }
            Route::AgentCalls => {
                agent_calls::authorize(policy.api_token.as_ref(), &parts.headers, peer, client)?;
                let order = self.question(&parts.headers, body, bytes).await?;
                let key = parts.headers.get(IDEMPOTENCY_KEY_HEADER);
                let context = context();
                Box::pin(agent_calls::place(&self.client, key, order, context.as_deref()))
                    .await
                    .map(Success::Placed)
            }
        }
    }

    /// The JSON of a request about calls.
    async fn question(
        &self,
        headers: &HeaderMap,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<Bytes, Rejection> {
        const LIMIT: usize = agent_calls::MAX_BODY_BYTES;
        let encoding = encoding::encoding(headers)?;
        let mut body = self.read(Trust::Api, body, LIMIT, LIMIT, bytes).await?;
        if encoding != Encoding::Identity {
            body = encoding::unpack(&body, encoding, LIMIT, LIMIT, self.budgets.of(Trust::Api))
                .map_err(|error| Rejection::unpacking(error, LIMIT))?;
        }
        let body = body.whole();
        json::check(&body)?;
        let mark = if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Ok(body.slice(mark..))
    }

    /// Reads a body of at most `most` bytes, in one piece up to `joined`, from the budget of `trust`.
    pub(crate) async fn read(
        &self,
        trust: Trust,
        body: &mut Incoming,
        most: usize,
        joined: usize,
        bytes: &mut usize,
    ) -> Result<Body, Rejection> {
        let limits = body::Limits { most, joined, time: self.config.body_timeout };
        let budget = self.budgets.of(trust);
        let body = body::read(body, limits, budget).await.map_err(|error| Rejection::body(error, most))?;
        *bytes = body.len();
        Ok(body)
    }
}

impl Success {
    fn reply(self) -> Reply {
        let mut status = StatusCode::OK;
        let body = match self {
            Self::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => Bytes::from(
                format!(r#"{{"accepted":true,"id":"{id}","sequence":{sequence},"duplicate":{duplicate}}}"#),
            ),
            // It has no sequence yet.
            Self::Accepted { id, accepted: Accepted::Spool { duplicate } } => Bytes::from(format!(
                r#"{{"accepted":true,"id":"{id}","sequence":null,"duplicate":{duplicate},"spooled":true}}"#
            )),
            Self::Placed(body) => {
                status = StatusCode::CREATED;
                body
            }
            Self::Answer(body) => body,
        };
        let mut reply = Response::new(Full::new(body));
        *reply.status_mut() = status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }
}

/// The trace context a request came with.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(stream::header::TRACEPARENT)?.to_str().ok().filter(|value| trace::is_traceparent(value))
}

/// What the log line of a request says besides its outcome.
struct Line<'a> {
    trace_id: Option<&'a str>,
    route: &'static str,
    peer: IpAddr,
    client: Option<IpAddr>,
    bytes: usize,
    started: Instant,
}

impl Line<'_> {
    fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    fn accepted(&self, success: &Success) {
        let (status, route, bytes, duration_ms) =
            (StatusCode::OK.as_u16(), self.route, self.bytes, self.duration_ms());
        let trace_id = self.trace_id;
        match success {
            // Its line costs as much as the rest of its way through us, and all that it says is in the answer,
            // the metrics and the trace.
            Success::Accepted { id, accepted: Accepted::Stream(Stored { sequence, duplicate }) } => {
                tracing::debug!(route, status, %id, sequence, duplicate, bytes, duration_ms, trace_id, "webhook stored");
            }
            Success::Accepted { id, accepted: Accepted::Spool { duplicate } } => {
                tracing::warn!(route, status, %id, duplicate, bytes, duration_ms, trace_id, "webhook spooled");
            }
            Success::Answer(_) => {
                tracing::info!(route, status, bytes, duration_ms, trace_id, "question answered");
            }
            Success::Placed(_) => tracing::info!(route, bytes, duration_ms, trace_id, "call placed"),
        }
    }

    fn refused(&self, rejection: &Rejection) {
        let (status, code) = rejection.code();
        let reason = match rejection {
            Rejection::NotStored(error) => Some(error.label()),
            _ => None,
        };
        let broker_code = match rejection {
            Rejection::NotStored(PublishError::Refused(code)) => Some(*code),
            _ => None,
        };
        tracing::warn!(
            route = self.route,
            status = status.as_u16(),
            code,
            reason,
            broker_code,
            source = self.client.map(tracing::field::display),
            peer = %self.peer,
            bytes = self.bytes,
            duration_ms = self.duration_ms(),
            trace_id = self.trace_id,
            "request refused"
        );
    }
}
