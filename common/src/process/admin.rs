//! The admin listener with `/livez`, `/readyz` and `/metrics`. It has its own port, which is not public.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, header};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::{
    Limits, Reply, Server,
    client::{self, Bounds},
};

const LIMITS: Limits = Limits {
    connections: 64,
    header_timeout: Duration::from_secs(10),
    linger: Duration::ZERO,
    drain: Duration::from_secs(1),
};

/// Bounds of the request of [`probe`].
const PROBE_BOUNDS: Bounds = Bounds { time: Duration::from_secs(3), bytes: 64 * 1024 };

/// Names and states of the parts that a process needs.
pub type Parts = Vec<(&'static str, State)>;

/// State of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The part works.
    Ready,
    /// The part has the problem in this text, but the process works.
    Degraded(String),
    /// The part has the problem in this text, and the process cannot work.
    Unready(String),
}

impl From<Result<(), String>> for State {
    fn from(state: Result<(), String>) -> Self {
        state.map_or_else(Self::Unready, |()| Self::Ready)
    }
}

/// Checks all parts. The check should take about a second at most.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Parts> + Send>> + Send + Sync + 'static>;

/// Serves the admin endpoints on `listener` until `stop`.
pub async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let server = Server::plain(listener, LIMITS);
    let handler = move |_: SocketAddr, request: Request<_>| {
        let (registry, readiness) = (registry.clone(), readiness.clone());
        async move { answer(request.method(), request.uri().path(), &registry, &readiness).await }
    };
    server.serve(stop, handler).await;
}

/// Requests `/readyz` of a process on this machine with the `ADMIN_ADDR` `address`. Returns the body of the
/// answer: as `Ok` if the process is ready, else as `Err`.
///
/// Containers use this as their health check, because their image holds no other program.
pub async fn probe(mut address: SocketAddr) -> Result<String, String> {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let request = Request::get(format!("http://{address}/readyz")).body(Full::default());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client::send(request, PROBE_BOUNDS).await.map_err(|error| format!("{address}: {error}"))?;
    let text = String::from_utf8_lossy(answer.body()).trim().to_owned();
    if answer.status() == StatusCode::OK { Ok(text) } else { Err(text) }
}

async fn answer(method: &Method, path: &str, registry: &Registry, readiness: &Readiness) -> Reply {
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return reply(StatusCode::NOT_FOUND, "text/plain", "try /livez, /readyz or /metrics\n".into());
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut reply = reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
        reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    match path {
        "/readyz" => ready(readiness().await),
        "/metrics" => {
            let mut text = String::new();
            encode(&mut text, registry).expect("writing to a String cannot fail");
            reply(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
        }
        _ => reply(StatusCode::OK, "text/plain", "ok\n".into()),
    }
}

fn ready(parts: Parts) -> Reply {
    let ready = !parts.iter().any(|(_, state)| matches!(state, State::Unready(_)));
    let parts: Map<String, Value> = parts
        .into_iter()
        .map(|(name, state)| {
            let text = match state {
                State::Ready => "ok".to_owned(),
                State::Degraded(problem) | State::Unready(problem) => problem,
            };
            (name.to_owned(), Value::String(text))
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": ready, "parts": parts });
    reply(status, "application/json", format!("{body}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    reply
}
