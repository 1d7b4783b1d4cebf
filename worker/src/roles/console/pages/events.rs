//! `GET /events`: server-sent events that keep an open page up to date.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aftercall_common::phone_numbers::Numbers;
use axum::{
    body::Body,
    extract::{Extension, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use jiff::Timestamp;
use mongodb::bson::oid::ObjectId;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

use super::calls::search_number;
use crate::roles::console::{
    access::{auth::Caller, backoff::Source, stream_limits::StreamPermit},
    live::{
        broadcast::{CallUpdate, Health, Update},
        frame::frame,
    },
    state::Console,
    view::filter::Params,
};
use crate::store::views::Choices;

/// Time without an event after which a comment is sent, so that a dead connection is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Longest duration of a stream. The page then connects again, for which it needs a valid session.
const MAX_DURATION: Duration = Duration::from_hours(1);

/// Parameters of the stream itself. All others are the filter of its list.
const STREAM_PARAMETERS: [&str; 2] = ["topic", "seen"];

/// The calls about which a page wants events.
enum Topic {
    /// No calls.
    None,
    /// The calls of the list with these parameters, and the failure reasons that were known when it was opened.
    List(Box<Params>, Arc<Choices>),
    /// The call with this document id.
    Call(ObjectId),
}

/// The stream of one viewer.
struct Viewer {
    console: Arc<Console>,
    caller: Caller,
    topic: Topic,
    updates: Receiver<Update>,
    /// Counts the stream for as long as it is open.
    _permit: StreamPermit,
    ends_at: Instant,
    /// What is sent before all updates. `None`: it is sent.
    greeting: Option<Bytes>,
}

/// `GET /events`. `topic`: `calls`, with the parameters of a list, or `call`, with `id`; without it, no calls. `seen`: the
/// version of the calls that the page was rendered from.
pub async fn events(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
) -> Response {
    let permit = match console.stream_limits.acquire(&caller, &source) {
        Ok(permit) => permit,
        Err(limit) => {
            let answer = (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], format!("{limit}\n"));
            return answer.into_response();
        }
    };
    let query = query.unwrap_or_default();
    let parameter = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value)
    };
    let refuse = |text: &str| (StatusCode::UNPROCESSABLE_ENTITY, format!("{text}\n")).into_response();
    let topic = match parameter("topic").as_deref() {
        Some("calls") => {
            let pairs = form_urlencoded::parse(query.as_bytes());
            let own = pairs.filter(|(name, _)| !STREAM_PARAMETERS.contains(&name.as_ref()));
            let (params, problem) = Params::read_whole(own);
            if let Some(problem) = problem {
                return refuse(&problem.text);
            }
            // The limit on searches for hidden numbers counts here, too: the stream reveals whether a call matches.
            if let Err(refused) = search_number(&console, &params, Timestamp::now()).await {
                return refused;
            }
            Topic::List(Box::new(params), console.choices.get(&console.views, console.health()).await)
        }
        Some("call") => match parameter("id").and_then(|id| ObjectId::parse_str(&*id).ok()) {
            Some(id) => Topic::Call(id),
            None => return refuse("id takes the id of a document"),
        },
        Some(_) => return refuse("topic takes calls or call"),
        None => Topic::None,
    };
    let Ok(seen) = parameter("seen").map_or(Ok(0), |seen| seen.parse()) else {
        return refuse("seen takes a version of the calls");
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Without this header, some proxies buffer answers and delay the events.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(stream_events(console, caller, topic, seen, permit))).into_response()
}

/// The events for one viewer, until the process stops or [`MAX_DURATION`] is over.
fn stream_events(
    console: Arc<Console>,
    caller: Caller,
    topic: Topic,
    seen: u64,
    permit: StreamPermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let (updates, is_behind) = console.broadcast.subscribe(seen);
    let greeting = Some(greeting(&console, is_behind));
    let ends_at = Instant::now() + MAX_DURATION;
    let viewer = Viewer { console, caller, topic, updates, _permit: permit, ends_at, greeting };
    stream::unfold(viewer, async |mut viewer| {
        if let Some(greeting) = viewer.greeting.take() {
            return Some((Ok(greeting), viewer));
        }
        let keep_alive = Instant::now() + KEEP_ALIVE_INTERVAL;
        loop {
            let next = tokio::select! {
                () = viewer.console.stop.cancelled() => return None,
                () = tokio::time::sleep_until(viewer.ends_at) => return None,
                next = next_event(&viewer.topic, viewer.console.numbers, &mut viewer.updates) => next?,
                () = tokio::time::sleep_until(keep_alive) => Bytes::from_static(b": here\n\n"),
            };
            if viewer.console.access.has_ended(&viewer.caller) {
                return None;
            }
            if !next.is_empty() {
                return Some((Ok(next), viewer));
            }
        }
    })
}

/// The first events: the current state, and a resync if the page missed an update.
fn greeting(console: &Console, is_behind: bool) -> Bytes {
    let mut greeting = BytesMut::from(&b"retry: 1000\n\n"[..]);
    greeting.extend_from_slice(&health_event(console.health()));
    if let Some(count) = console.broker.dead_letters() {
        greeting.extend_from_slice(&frame("letters", &count.to_string()));
    }
    if is_behind {
        greeting.extend_from_slice(&frame("resync", "behind"));
    }
    greeting.freeze()
}

/// The events for the next update; empty if it does not concern `topic`. `None`: the updates have ended.
async fn next_event(topic: &Topic, numbers: Numbers, updates: &mut Receiver<Update>) -> Option<Bytes> {
    Some(match updates.recv().await {
        Ok(Update::Calls(calls)) => call_events(topic, numbers, &calls),
        Ok(Update::Resync) | Err(RecvError::Lagged(_)) => frame("resync", "changed"),
        Ok(Update::Health(health)) => health_event(health),
        Ok(Update::DeadLetters(count)) => frame("letters", &count.to_string()),
        Ok(Update::Tick) => frame("tick", "5 s"),
        Err(RecvError::Closed) => return None,
    })
}

/// The events of those `calls` that concern `topic`.
fn call_events(topic: &Topic, numbers: Numbers, calls: &[CallUpdate]) -> Bytes {
    let now = Timestamp::now();
    let mut frames = calls.iter().filter_map(|call| match (topic, &call.row) {
        (Topic::None, _) => None,
        (Topic::List(params, known), Some(row)) if params.shows(row, &known.reasons, numbers, now) => {
            Some(call.row_frame.clone())
        }
        (Topic::List(..), _) => Some(call.left_frame.clone()),
        (Topic::Call(id), _) => (*id == call.id).then(|| frame("changed", "call")),
    });
    let Some(first) = frames.next() else { return Bytes::new() };
    let Some(second) = frames.next() else { return first };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    for frame in frames {
        all.extend_from_slice(&frame);
    }
    all.freeze()
}

fn health_event(health: Health) -> Bytes {
    frame("health", &format!(r#"{{"mongodb":{},"nats":{}}}"#, health.mongodb, health.nats))
}
