//! The checks of a request, in order, and its answer.
//!
//! Invariant: path and method, source, size, body, signature, JSON, publish; each check comes
//! before the cost of the next, and a refused request leaves nothing but a count and a log line.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    agent_calls::STATUS_SUBJECT,
    http::Reply,
    stream::{header as ours, subject},
};
use async_nats::Client;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue},
    http::request::Parts,
};
use jiff::Timestamp;

use crate::{
    Config, agent_calls,
    body::{self, Body, Budget},
    json,
    message::{self, WebhookId},
    metrics::Metrics,
    publisher::{PublishError, Publisher, Stored, Webhook},
    rejection::Rejection,
    signature, source_ip,
};

/// Time a refused sender gets to finish sending, so that it reads the answer instead of a reset.
const LINGER: Duration = Duration::from_secs(1);

/// The endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    CallStatus,
    AgentCallStatus,
    AgentCalls,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/api/webhooks/elevenlabs/call-status" => Self::CallStatus,
            "/api/agent-calls/status" => Self::AgentCallStatus,
            "/api/agent-calls" => Self::AgentCalls,
            _ => Self::Unknown,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::CallStatus => "elevenlabs_call_status",
            Self::AgentCallStatus => "agent_call_status",
            Self::AgentCalls => "agent_calls",
            Self::Unknown => "unknown",
        }
    }
}

/// What an accepted request is answered.
enum Success {
    Accepted { id: WebhookId, stored: Stored },
    Answer(Bytes),
}

/// Everything a request needs.
#[derive(Debug)]
pub struct Gateway {
    /// The configuration.
    pub config: Config,
    /// The connection to the broker.
    pub client: Client,
    /// Stores webhooks.
    pub publisher: Publisher,
    /// Bytes all requests may hold.
    pub budget: Budget,
    /// Counts.
    pub metrics: Metrics,
}

impl Gateway {
    /// Answers one request, logs one line, counts one.
    pub async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let route = Route::of(parts.uri.path());
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        let client = source_ip::client(peer.ip(), forwarded, &self.config.trusted_proxies);
        let mut bytes = 0;
        let outcome = self.decide(route, (peer.ip(), client), &parts, &mut body, &mut bytes).await;
        let line = Line { route: route.label(), peer: peer.ip(), client, bytes, started };
        match outcome {
            Ok(success) => {
                self.metrics.request(route.label(), "ok");
                line.accepted(&success);
                success.reply()
            }
            Err(rejection) => {
                self.metrics.request(route.label(), rejection.label());
                line.refused(&rejection);
                let mut reply = rejection.reply();
                // Nobody is asked to send a body that is refused already.
                if !body.is_end_stream()
                    && rejection != Rejection::BodyTimeout
                    && !parts.headers.contains_key(EXPECT)
                {
                    body::discard(&mut body, LINGER).await;
                }
                if !body.is_end_stream() {
                    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                reply
            }
        }
    }

    async fn decide(
        &self,
        route: Route,
        (peer, client): (IpAddr, Option<IpAddr>),
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<Success, Rejection> {
        if route == Route::Unknown {
            return Err(Rejection::NotFound);
        }
        if parts.method != Method::POST {
            return Err(Rejection::MethodNotAllowed);
        }
        match route {
            Route::Unknown => Err(Rejection::NotFound),
            Route::CallStatus => self.webhook(client, parts, body, bytes).await,
            Route::AgentCallStatus => {
                agent_calls::authorize(self.config.api_token.as_ref(), &parts.headers, peer, client)?;
                let body = self.read(body, agent_calls::MAX_BODY_BYTES, bytes).await?;
                json::check(&body.bytes).map_err(|detail| Rejection::InvalidJson { detail })?;
                agent_calls::ask(&self.client, STATUS_SUBJECT, body.bytes.clone()).await.map(Success::Answer)
            }
            Route::AgentCalls => {
                agent_calls::authorize(self.config.api_token.as_ref(), &parts.headers, peer, client)?;
                Err(Rejection::NotImplemented)
            }
        }
    }

    async fn webhook(
        &self,
        client: Option<IpAddr>,
        parts: &Parts,
        body: &mut Incoming,
        bytes: &mut usize,
    ) -> Result<Success, Rejection> {
        let received_at = Timestamp::now();
        let source = client
            .filter(|&client| self.config.allowed_sources.contain(client))
            .ok_or(Rejection::SourceNotAllowed)?;
        let fits_broker = self.publisher.max_payload().saturating_sub(message::MAX_HEADER_BYTES);
        let body = self.read(body, self.config.max_body_bytes.get().min(fits_broker), bytes).await?;
        let signature = signature::verify(
            parts.headers.get_all(ours::ELEVENLABS_SIGNATURE).iter().map(HeaderValue::as_bytes),
            &body.bytes,
            &self.config.elevenlabs_webhook_secret,
            self.config.signature_tolerance,
            received_at.as_second(),
        )
        .map_err(Rejection::Signature)?;
        json::check(&body.bytes).map_err(|detail| Rejection::InvalidJson { detail })?;
        let id = message::webhook_id(parts.uri.path(), &body.bytes);
        let headers = message::headers(id, &parts.headers, source, signature, received_at);
        let webhook = Webhook { subject: subject::ELEVENLABS_CALL_STATUS, id, headers, body };
        let stored = self.publisher.publish(webhook).await.map_err(|error| match error {
            PublishError::QueueFull => Rejection::Overloaded,
            error => Rejection::NotStored(error),
        })?;
        Ok(Success::Accepted { id, stored })
    }

    async fn read(&self, body: &mut Incoming, limit: usize, bytes: &mut usize) -> Result<Body, Rejection> {
        let body = body::read(body, limit, self.config.body_timeout, &self.budget)
            .await
            .map_err(|error| Rejection::body(error, limit))?;
        *bytes = body.bytes.len();
        Ok(body)
    }
}

impl Success {
    fn reply(self) -> Reply {
        let body = match self {
            Self::Accepted { id, stored: Stored { sequence, duplicate } } => Bytes::from(format!(
                r#"{{"accepted":true,"id":"{id}","sequence":{sequence},"duplicate":{duplicate}}}"#
            )),
            Self::Answer(body) => body,
        };
        let mut reply = Response::new(Full::new(body));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }
}

/// What the log line of a request says besides its outcome.
struct Line {
    route: &'static str,
    peer: IpAddr,
    client: Option<IpAddr>,
    bytes: usize,
    started: Instant,
}

impl Line {
    fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }

    fn accepted(&self, success: &Success) {
        let (status, route, bytes, duration_ms) =
            (StatusCode::OK.as_u16(), self.route, self.bytes, self.duration_ms());
        match success {
            Success::Accepted { id, stored: Stored { sequence, duplicate } } => {
                tracing::info!(route, status, %id, sequence, duplicate, bytes, duration_ms, "webhook stored");
            }
            Success::Answer(_) => tracing::info!(route, status, bytes, duration_ms, "question answered"),
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
            "request refused"
        );
    }
}
