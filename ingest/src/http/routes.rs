//! Which request is whose, and its answer. The checks of a webhook are in [`super::gateway`].
//!
//! Invariant: path and method first; a refused request leaves nothing but counts and a log line.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    contract::{agent_calls::IDEMPOTENCY_KEY_HEADER, streams},
    http::{self, Reply},
    json::BYTE_ORDER_MARK,
    process::trace::{self, Kind, Span, Tracer},
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

use super::{agent_calls, rejection::Rejection, request_log::RequestLog};
use crate::{
    Config,
    admission::{
        access::{self, Access},
        body::{
            self, Body, Budgets, Trust,
            encoding::{self, Unpacking},
        },
        json,
        policy::{Policy, ReloadablePolicy},
        provider::Provider,
        source_ip::{self, Sender, UnknownSender},
    },
    metrics::Metrics,
    storage::{Accepted, Storage, message::WebhookId, publisher::Stored},
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
    /// The route of `path`. Empty segments mean nothing: whoever puts a URL together from a base that ends
    /// in a slash doubles that slash.
    fn of(path: &str) -> Self {
        match Self::exactly(path) {
            Self::Unknown if path.starts_with('/') && (path.contains("//") || path.ends_with('/')) => {
                let segments = path.split('/').filter(|segment| !segment.is_empty());
                Self::exactly(
                    &segments.fold(String::with_capacity(path.len()), |path, segment| path + "/" + segment),
                )
            }
            route => route,
        }
    }

    fn exactly(path: &str) -> Self {
        let known = [
            Self::Webhook(Provider::ElevenLabs),
            Self::Webhook(Provider::Twilio),
            Self::AgentCallStatus,
            Self::AgentCalls,
        ];
        known.into_iter().find(|route| route.path() == path).unwrap_or(Self::Unknown)
    }

    /// The path, in its one proper spelling.
    pub fn path(self) -> &'static str {
        match self {
            Self::Webhook(Provider::ElevenLabs) => "/api/webhooks/elevenlabs/call-status",
            Self::Webhook(Provider::Twilio) => "/api/webhooks/twilio/call-status",
            Self::AgentCallStatus => "/api/agent-calls/status",
            Self::AgentCalls => "/api/agent-calls",
            Self::Unknown => "",
        }
    }

    /// The methods that the route takes, as the `Allow` header names them.
    fn methods(self) -> &'static str {
        match self {
            Self::Webhook(Provider::Twilio) => "GET, POST",
            Self::Webhook(Provider::ElevenLabs)
            | Self::AgentCallStatus
            | Self::AgentCalls
            | Self::Unknown => "POST",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| method == allowed)
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
pub(crate) enum Success {
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
    pub policy: ReloadablePolicy,
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
    /// Who sent it, as far as that can be known.
    pub sender: Result<Sender, UnknownSender>,
}

impl Gateway {
    /// Answers one request, logs one line, counts one.
    pub async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let policy = self.policy.get(); // One for the whole request, whatever changes meanwhile.
        let (parts, mut body) = request.into_parts();
        let route = Route::of(parts.uri.path());
        let sender = source_ip::sender(peer.ip(), &parts.headers, &policy.trusted_proxies);
        let came_with = traceparent(&parts.headers);
        let mut span = match route.span() {
            Some(name) => self.tracer.span(name, Kind::Server, came_with),
            None => Span::default(),
        };
        let mut bytes = 0;
        let scope = Scope { policy: &policy, span: &span, peer: peer.ip(), sender };
        let outcome = self.decide(route, &scope, &parts, &mut body, &mut bytes).await;
        let context = span.traceparent().or_else(|| came_with.map(str::to_owned));
        // Its length may also be given by a Content-Length that hyper drops: a proxy that goes by that would
        // take the rest for another request, so nothing after it is read (RFC 9112, section 6.1).
        let last = parts.headers.contains_key(TRANSFER_ENCODING);
        let trace_id = context.as_deref().and_then(trace::trace_id);
        let (peer, sender, path) = (peer.ip(), sender.ok(), parts.uri.path());
        let log = RequestLog { trace_id, route, path, peer, sender, bytes, started };
        let mut reply = match outcome {
            Ok(success) => {
                self.metrics.request(route.label(), "ok", started.elapsed());
                log.accepted(&success);
                let mut reply = success.reply();
                reply.extensions_mut().insert(http::Authenticated);
                reply
            }
            Err(rejection) => {
                self.metrics.request(route.label(), rejection.label(), started.elapsed());
                log.refused(&rejection);
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
        if route == Route::Unknown {
            return Err(Rejection::NotFound);
        }
        if route == Route::Webhook(Provider::Twilio) && scope.policy.twilio_auth_token.is_empty() {
            return Err(Rejection::RouteClosed);
        }
        if !route.takes(&parts.method) {
            return Err(Rejection::MethodNotAllowed { allow: route.methods() });
        }
        // What its body is packed in belongs into Content-Encoding: the framing itself is never compressed here.
        if parts.headers.get_all(TRANSFER_ENCODING).iter().any(|value| http::compresses(value.as_bytes())) {
            return Err(Rejection::UnsupportedTransferEncoding);
        }
        match route {
            Route::Unknown => Err(Rejection::NotFound),
            Route::Webhook(provider) => {
                let outcome = self.webhook(provider, scope, parts, body, bytes).await;
                // A stranger's request says nothing about the provider; see `webhook`.
                let is_of_stranger = |rejection: &Rejection| {
                    // Any address may send what looks like a callback of Twilio.
                    rejection.is_of_stranger()
                        || provider == Provider::Twilio && matches!(rejection, Rejection::Signature(_))
                };
                if !outcome.as_ref().is_err_and(is_of_stranger) {
                    self.metrics.webhook(route.label(), outcome.is_ok());
                }
                outcome.map(|(id, accepted)| Success::Accepted { id, accepted })
            }
            Route::AgentCallStatus => {
                let question = self.question(Access::Read, scope, parts, body, bytes).await?;
                let context = scope.context(parts);
                // Boxed, as below: questions are few, and webhooks are not to hold memory for them.
                Box::pin(agent_calls::status(&self.client, question, context.as_deref()))
                    .await
                    .map(Success::Answer)
            }
            Route::AgentCalls => {
                let order = self.question(Access::Full, scope, parts, body, bytes).await?;
                let key = parts.headers.get(IDEMPOTENCY_KEY_HEADER);
                let context = scope.context(parts);
                Box::pin(agent_calls::place(&self.client, key, order, context.as_deref()))
                    .await
                    .map(Success::Placed)
            }
        }
    }

    /// The JSON of a request about calls, from a caller that may have `access`.
    async fn question(
        &self,
        access: Access,
        scope: &Scope<'_>,
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<Bytes, Rejection> {
        const LIMIT: usize = agent_calls::MAX_BODY_BYTES;
        let sender = scope.sender.map_err(Rejection::UnknownSender)?;
        access::authorize(scope.policy, access, &parts.headers, sender)?;
        if !is_json(&parts.headers) {
            return Err(Rejection::UnsupportedMediaType { detail: "Content-Type must be application/json." });
        }
        let encoding = encoding::encoding(&parts.headers)?;
        let mut body = self.read(Trust::Api, body, LIMIT, LIMIT, bytes).await?;
        let budget = self.budgets.of(Trust::Api);
        Unpacking { encoding, most: LIMIT, joined: LIMIT, budget }.replace(&mut body)?;
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

impl Scope<'_> {
    /// The trace context that goes on to the worker.
    fn context(&self, parts: &Parts) -> Option<String> {
        self.span.traceparent().or_else(|| traceparent(&parts.headers).map(str::to_owned))
    }
}

/// Whether the body is declared as JSON. A browser cannot declare that for a page of another origin without
/// asking first.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// The trace context a request came with.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(streams::header::TRACEPARENT)?.to_str().ok().filter(|value| trace::is_traceparent(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_mean_nothing() {
        let elevenlabs = Route::Webhook(Provider::ElevenLabs);
        for (path, route) in [
            ("/api/webhooks/elevenlabs/call-status", elevenlabs),
            ("/api/webhooks/elevenlabs/call-status/", elevenlabs),
            ("//api/webhooks//elevenlabs/call-status//", elevenlabs),
            ("/api/agent-calls/", Route::AgentCalls),
            ("/api/agent-calls/status/", Route::AgentCallStatus),
            ("/api/webhooks/elevenlabs/call%2Dstatus", Route::Unknown),
            ("/API/agent-calls", Route::Unknown),
            ("api/agent-calls/", Route::Unknown),
            ("/api/agent-calls/x", Route::Unknown),
            ("/", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn json_is_declared_by_its_media_type_alone() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            (" application/json", true),
            ("application/jsonp", false),
            ("application/json-patch+json", false),
            ("text/plain; application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
