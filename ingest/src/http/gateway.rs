//! Answers the requests of the public listener.
//!
//! Invariants:
//! - Path and method are checked before everything else.
//! - Every request is counted once. A refusal has a log line of its own; a stored webhook has one, or is part of a sum.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    http,
    process::{
        success_log::SuccessLog,
        trace::{self, Kind, Span, Tracer},
    },
};
use async_nats::Client;
use hyper::{
    Method, Request,
    body::Incoming,
    header::{CONNECTION, EXPECT, HeaderValue, TRANSFER_ENCODING},
    http::request::Parts,
};
use tokio_util::sync::CancellationToken;

use super::{
    agent_calls::{AgentCalls, Content},
    body::{Answer, in_memory},
    cors,
    problem::Problem,
    rejection::Rejection,
    request::{RequestBody, RequestHead, traceparent},
    request_id::{X_REQUEST_ID, request_id},
    request_log::{RequestLog, log_sums},
    routes::Route,
    success::Success,
    webhooks::Webhooks,
};
use crate::{
    Config,
    admission::{body::Budgets, provider, reload::ReloadablePolicy, source_ip},
    metrics::{Metrics, OK},
    storage::Storage,
};

/// Time for a refused sender to finish sending, so that it reads the answer and does not see a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Answers requests.
#[derive(Debug)]
pub struct Gateway {
    policy: ReloadablePolicy,
    webhooks: Webhooks,
    agent_calls: AgentCalls,
    metrics: Metrics,
    tracer: Tracer,
    successes: SuccessLog,
}

impl Gateway {
    /// Stores webhooks in `storage`, and asks workers through `client`.
    pub fn new(
        config: &Config,
        policy: ReloadablePolicy,
        client: Client,
        storage: Arc<Storage>,
        metrics: Metrics,
        tracer: Tracer,
    ) -> Self {
        let budgets = Budgets::new(config.max_inflight_bytes.get(), &metrics.bytes_in_flight);
        let agent_calls = AgentCalls::new(client, budgets.clone(), config.body_timeout);
        let webhooks = Webhooks::new(config, storage, budgets, metrics.clone(), tracer.clone());
        Self { policy, webhooks, agent_calls, metrics, tracer, successes: SuccessLog::default() }
    }

    /// Logs once a second how many stored webhooks have no line of their own, until `stop`.
    pub async fn sum_up_successes(self: Arc<Self>, stop: CancellationToken) {
        self.successes.sum_up(&stop, log_sums).await;
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, peer: SocketAddr, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let (mut head, mut body) = (self.head(peer, parts), RequestBody::new(body));
        let outcome = self.decide(&head, &mut body).await;
        let context = head.trace_context();
        let trace_id = context.as_deref().and_then(trace::trace_id);
        let log = RequestLog { head: &head, trace_id, bytes: body.received() };
        let (route, elapsed) = (head.route.label(), head.started.elapsed());
        let mut reply = match outcome {
            Ok(success) => {
                self.metrics.count_request(route, OK, elapsed);
                log.success(&success, &self.successes);
                let is_authenticated = success.is_authenticated();
                let mut reply = success.answer();
                if is_authenticated {
                    reply.extensions_mut().insert(http::Authenticated);
                }
                reply
            }
            Err(rejection) => {
                self.metrics.count_request(route, rejection.label(), elapsed);
                log.rejection(&rejection);
                head.span.fail(rejection.label());
                // A sender that waits for `100 Continue` has not begun to send.
                if !body.is_complete()
                    && rejection.problem() != Problem::BodyTimeout
                    && !head.parts.headers.contains_key(EXPECT)
                {
                    body.discard(LINGER).await;
                }
                in_memory(rejection.reply())
            }
        };
        if head.route.is_for_pages() {
            // Boxed, because few requests need it.
            reply = Box::pin(cors::apply(&head.policy.api_cors_origins, &head.parts, reply)).await;
        }
        reply.headers_mut().insert(X_REQUEST_ID, head.id.clone());
        head.span.set("http.response.status_code", || i64::from(reply.status().as_u16()));
        // hyper drops a Content-Length beside Transfer-Encoding. A proxy that uses the Content-Length would
        // take the rest of the message for another request, so nothing more is read (RFC 9112, section
        // 6.1).
        let is_last = head.parts.headers.contains_key(TRANSFER_ENCODING);
        if is_last || !body.is_complete() {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    fn head(&self, peer: SocketAddr, parts: Parts) -> RequestHead {
        let started = Instant::now();
        let policy = self.policy.get();
        let route = Route::of_request(&parts.method, parts.uri.path());
        let sender = source_ip::sender(peer.ip(), &parts.headers, &policy.trusted_proxies);
        let span = match route.span() {
            Some(name) => self.tracer.span(name, Kind::Server, traceparent(&parts.headers)),
            None => Span::default(),
        };
        let id = request_id(&parts.headers);
        RequestHead { route, policy, parts, peer: peer.ip(), sender, span, id, started }
    }

    async fn decide(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Success, Rejection> {
        check_route(head)?;
        match head.route {
            Route::Unknown => Err(Rejection::NotFound),
            Route::Webhook(provider) => {
                let (id, accepted) = self.webhooks.accept(provider, head, body).await?;
                Ok(Success::Accepted { id, accepted })
            }
            // Boxed, because other requests are rare. Without the box, the future of every webhook would be as
            // large as theirs.
            _ => Box::pin(self.decide_other(head, body)).await,
        }
    }

    /// Answers a request that is no webhook.
    async fn decide_other(&self, head: &RequestHead, body: &mut RequestBody) -> Result<Success, Rejection> {
        let calls = &self.agent_calls;
        if head.parts.method == Method::OPTIONS {
            return Ok(Success::Options { allow: head.route.methods() });
        }
        match head.route {
            Route::Unknown | Route::Webhook(_) => Err(Rejection::NotFound),
            Route::AgentCallStatus => calls.status(head, body).await.map(Success::Status),
            Route::AgentCalls => calls.place(head, body).await.map(Success::Placed),
            Route::AgentCallList => calls.reading().list(head).await.map(Success::Read),
            Route::AgentCall => calls.reading().one(head).await.map(Success::Read),
            Route::AgentCallTranscript => {
                calls.reading().content(head, Content::Transcript).await.map(Success::Read)
            }
            Route::AgentCallAudio => calls.reading().content(head, Content::Audio).await.map(Success::Read),
            Route::OpenApi => Ok(Success::Description { is_head: head.parts.method == Method::HEAD }),
        }
    }
}

/// Checks path, method and framing.
fn check_route(head: &RequestHead) -> Result<(), Rejection> {
    let RequestHead { route, parts, .. } = head;
    if *route == Route::Unknown {
        return Err(Rejection::NotFound);
    }
    if let Route::Webhook(provider) = *route
        && let Some(advice) = provider::advice_if_closed(provider, &head.policy)
    {
        return Err(Rejection::RouteClosed { advice });
    }
    if !route.allows(&parts.method) {
        return Err(Rejection::MethodNotAllowed { allow: route.methods() });
    }
    // A Transfer-Encoding that compresses is refused: the gateway decompresses only by Content-Encoding.
    if parts.headers.get_all(TRANSFER_ENCODING).iter().any(|value| http::compresses(value.as_bytes())) {
        return Err(Rejection::UnsupportedTransferEncoding);
    }
    Ok(())
}
