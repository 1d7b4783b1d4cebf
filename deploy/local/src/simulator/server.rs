//! The simulator's HTTP server. It does not use the server of `common`, because it has to break connections.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    conversation::{conversation, error},
    demo::{self, Campaign},
    endpoints::{self, ApiRequest, ApiResponse},
    script::{Answer, AudioAnswer},
    state::{State, lock},
};

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

const CONVERSATIONS: &str = "/v1/convai/conversations/";
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// An error that makes hyper close the connection without an answer.
#[derive(Debug)]
struct ConnectionReset;

impl std::error::Error for ConnectionReset {}

impl std::fmt::Display for ConnectionReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulator closes this connection")
    }
}

/// Serves until `stop`, then drops open connections, because no request has to be finished.
pub async fn serve(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_mins(1));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let (http, state, stop) = (http.clone(), state.clone(), stop.clone());
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, state.clone()));
            let connection = pin!(http.serve_connection(TokioIo::new(socket), service));
            // The error is a client that has closed the connection, or `ConnectionReset`.
            let _ended = stop.run_until_cancelled(connection).await;
        });
    }
    connections.close();
    connections.wait().await;
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Reply, ConnectionReset> {
    if request.uri().path() == "/livez" {
        return Ok(Response::new(whole("ok\n")));
    }
    let authorized = request.headers().get("xi-api-key").is_some_and(|key| !key.is_empty())
        && !state.refuses_key.load(Ordering::Relaxed);
    let mut query: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        query.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map_err(|_closed| ConnectionReset)?.to_bytes();
    if path == demo::PATH {
        return Ok(place_demo(&state, &body).await);
    }
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let request = ApiRequest { method, path, query, body };

    let faults = state.faults();
    if !faults.slow.is_zero() {
        let share = lock(&state.rng).random_range(0.0..1.0);
        tokio::time::sleep(faults.slow.mul_f64(share)).await;
    }
    if authorized && state.happens(faults.rate_limit) {
        return Ok(rate_limited(Some(Duration::ZERO)));
    }
    // `endpoints` injects the failures of requests that place a call.
    let places_call = request.path.ends_with("/outbound-call");
    if authorized && !places_call && state.happens(faults.fail) {
        return Ok(json(500, &error(500)));
    }
    let scripted = request.path.strip_prefix(CONVERSATIONS).filter(|id| !id.is_empty() && !id.contains('/'));
    if !authorized && scripted.is_none() {
        return Ok(json(401, &error(401)));
    }
    if authorized && let Some(response) = endpoints::answer(&state, &request).await {
        if let Some(id) = scripted {
            state.record(id, authorized, Instant::now());
        }
        return Ok(match response {
            ApiResponse::Json(status, body) => json(status, &body),
            ApiResponse::Audio(audio) => audio_reply(whole(audio)),
            ApiResponse::ScriptedAudio(answer) => audio_reply(scripted_audio(answer)),
            ApiResponse::Hang => std::future::pending().await,
        });
    }
    let Some(id) = scripted else { return Ok(json(404, &error(404))) };
    if request.method != Method::GET {
        return Ok(json(405, &error(405)));
    }
    scripted_reply(id, state.next_answer(id, authorized, Instant::now())).await
}

/// Places the calls of the campaigns in `body`, a JSON list. The reply comes after the last webhook.
async fn place_demo(state: &Arc<State>, body: &[u8]) -> Reply {
    match serde_json::from_slice::<Vec<Campaign>>(body) {
        Ok(campaigns) => json(200, &serde_json::json!({ "calls": demo::place(state, &campaigns).await })),
        Err(error) => json(422, &serde_json::json!({ "detail": error.to_string() })),
    }
}

/// The reply for the conversation `id` that its script demands.
async fn scripted_reply(id: &str, answer: Answer) -> Result<Reply, ConnectionReset> {
    let done = |filler| conversation(id, "done", filler);
    Ok(match answer {
        Answer::Initiated => json(200, &conversation(id, "initiated", 0)),
        Answer::InProgress => json(200, &conversation(id, "in-progress", 0)),
        Answer::Processing => json(200, &conversation(id, "processing", 0)),
        Answer::Done => json(200, &done(0)),
        Answer::Failed => json(200, &conversation(id, "failed", 0)),
        Answer::NotFound => json(404, &error(404)),
        Answer::Status(status) => json(status, &error(status)),
        Answer::RateLimited { retry_after } => rate_limited(retry_after),
        Answer::Hang => std::future::pending().await,
        Answer::Reset => return Err(ConnectionReset),
        Answer::Garbage => {
            let text = done(0).to_string();
            // The text is ASCII, so every byte is a character boundary.
            reply(200, text[..text.len() / 2].to_owned())
        }
        Answer::Huge(bytes) => json(200, &done(bytes)),
    })
}

fn audio_reply(body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("audio/mpeg"));
    reply
}

/// The body of a scripted recording, in pieces of a tenth of a second.
fn scripted_audio(answer: AudioAnswer) -> UnsyncBoxBody<Bytes, Infallible> {
    const STEP: Duration = Duration::from_millis(100);
    let (bytes, per_step, sent) = match answer {
        AudioAnswer::Slow { bytes, per_second } => (bytes, per_second / 10, bytes),
        AudioAnswer::Stall { bytes } => (bytes, bytes, bytes / 2),
        AudioAnswer::Status(_) => (0, 1, 0),
    };
    let pieces = stream::unfold(0, move |done| async move {
        if done >= bytes {
            return None;
        }
        if done >= sent {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(STEP).await;
        let piece = per_step.max(1).min(sent - done);
        Some((Ok(Frame::data(vec![0; piece].into())), done + piece))
    });
    StreamBody::new(pieces.boxed()).boxed_unsync()
}

fn whole(body: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(body.into()).boxed_unsync()
}

fn rate_limited(retry_after: Option<Duration>) -> Reply {
    let mut reply = json(429, &error(429));
    if let Some(pause) = retry_after {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause.as_secs()));
    }
    reply
}

fn json(status: u16, body: &Value) -> Reply {
    reply(status, body.to_string())
}

fn reply(status: u16, body: String) -> Reply {
    let mut reply = Response::new(whole(body));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
