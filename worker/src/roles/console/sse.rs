//! `GET /events`: server-sent events, for the page that is open.

use std::{sync::Arc, time::Duration};

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
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    Console,
    auth::Caller,
    backoff::Source,
    broadcast::{CallNews, Health, News},
    filter::Params,
    streams::{MOST_OF_VIEWER, Place},
};
use crate::store::views::Filter;

/// Silence after which a sign of life is sent, so that a dead connection shows.
const SILENCE: Duration = Duration::from_secs(15);
/// Longest a stream lasts. The page opens it again, for which it needs a session that has not ended.
const LIFETIME: Duration = Duration::from_hours(1);

/// An event in its form on the wire.
pub fn frame(event: &str, data: &str) -> Bytes {
    let mut frame = format!("event: {event}\n");
    for line in data.lines() {
        frame.push_str("data: ");
        frame.push_str(line);
        frame.push('\n');
    }
    frame.push('\n');
    frame.into()
}

/// What of the calls an open page wants to hear.
enum Interest {
    /// Nothing: it shows none.
    None,
    /// Those a filter lets through, and those that were.
    List(Box<Filter>),
    /// One.
    Call(ObjectId),
}

/// `GET /events`
pub async fn events(
    State(console): State<Arc<Console>>,
    Extension(caller): Extension<Caller>,
    Extension(source): Extension<Source>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(place) = console.streams.open(caller, &source) else {
        let text =
            format!("{MOST_OF_VIEWER} pages of this login are kept up to date already: close one of them\n");
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], text).into_response();
    };
    let query = query.unwrap_or_default();
    let word = |name: &str| {
        form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value)
    };
    let interest = match word("topic").as_deref() {
        Some("calls") => {
            let known = console.reasons.known(&console).await;
            Interest::List(Box::new(Params::read(&query).filter(&known, Timestamp::now())))
        }
        Some("call") => {
            word("id").and_then(|id| ObjectId::parse_str(&*id).ok()).map_or(Interest::None, Interest::Call)
        }
        _ => Interest::None,
    };
    let seen = word("seen").and_then(|seen| seen.parse().ok()).unwrap_or(0);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that gathers answers would hold back what is to be seen at once.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(told(console, interest, seen, place))).into_response()
}

/// The events for one viewer, until the process stops.
fn told(
    console: Arc<Console>,
    interest: Interest,
    seen: u64,
    place: Place,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let (news, is_behind) = console.live.view(seen);
    let mut hello = BytesMut::from(&b"retry: 1000\n\n"[..]);
    hello.extend_from_slice(&health(console.health()));
    if let Some(letters) = console.broker.letters() {
        hello.extend_from_slice(&frame("letters", &letters.to_string()));
    }
    if is_behind {
        hello.extend_from_slice(&frame("resync", "behind"));
    }
    let ends = tokio::time::Instant::now() + LIFETIME;
    // The place is held until the stream ends.
    let viewer = (console, interest, news, (place, ends), Some(hello.freeze()));
    stream::unfold(viewer, async |(console, interest, mut news, held, mut hello)| {
        if let Some(hello) = hello.take() {
            return Some((Ok(hello), (console, interest, news, held, None)));
        }
        loop {
            let next = tokio::select! {
                () = console.stop.cancelled() => return None,
                () = tokio::time::sleep_until(held.1) => return None,
                next = next(&interest, &mut news) => next?,
                () = tokio::time::sleep(SILENCE) => Bytes::from_static(b": here\n\n"),
            };
            if !next.is_empty() {
                return Some((Ok(next), (console, interest, news, held, None)));
            }
        }
    })
}

/// The next that is of interest, or nothing; none at the end.
async fn next(interest: &Interest, news: &mut Receiver<News>) -> Option<Bytes> {
    Some(match news.recv().await {
        Ok(News::Calls(calls)) => of_interest(interest, &calls),
        Ok(News::Resync) | Err(RecvError::Lagged(_)) => frame("resync", "look"),
        Ok(News::Health(state)) => health(state),
        Ok(News::Letters(letters)) => frame("letters", &letters.to_string()),
        Ok(News::Tick) => frame("tick", "5 s"),
        Err(RecvError::Closed) => return None,
    })
}

fn of_interest(interest: &Interest, calls: &[CallNews]) -> Bytes {
    let mut frames = calls.iter().filter_map(|call| match (interest, &call.row) {
        (Interest::None, _) => None,
        (Interest::List(filter), Some(row)) if filter.shows(row) => Some(call.shown.clone()),
        (Interest::List(_), _) => Some(call.left.clone()),
        (Interest::Call(id), _) => (*id == call.id).then(|| frame("changed", "call")),
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

fn health(health: Health) -> Bytes {
    frame("health", &format!(r#"{{"mongodb":{},"nats":{}}}"#, health.mongodb, health.nats))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_lines() {
        assert_eq!(frame("row", "a\nb\r\nc"), "event: row\ndata: a\ndata: b\ndata: c\n\n");
    }
}
