//! Requests about calls, a NATS service: any number of workers share its requests, each goes to one.

mod call_request;
mod lookup;
mod place_call;
mod request;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::{
    contract::{
        agent_calls::{
            ERROR_CODE_HEADER, IDEMPOTENCY_KEY_HEADER, PLACE_SUBJECT, SERVICE_NAME, STATUS_SUBJECT,
        },
        streams::header::TRACEPARENT,
    },
    process::trace::{Kind, Span},
};
use async_nats::{
    HeaderMap,
    service::{Request, ServiceExt as _, endpoint::Endpoint, error::Error as ServiceError},
};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    lookup::{Lookup, Refusal},
    place_call::{DIALLING, NotPlaced, place},
};
use crate::{Context, retry::Pauses};

/// Lookups answered at a time.
const LOOKUPS: usize = 64;
/// Calls placed at a time. ElevenLabs takes its time, and limits calls at a time to a few dozen.
const PLACEMENTS: usize = 64;
/// How long requests are looked for that came while we stopped. On a busy machine the broker takes a moment to
/// learn that we stop, and a request that nobody answers is given up after 15 s.
const LAST_REQUESTS: Duration = Duration::from_millis(500);
/// Room the broker's `max_payload` needs besides the body.
const HEADROOM: usize = 1024;

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, lookup: Lookup, stop: CancellationToken) {
    let mut pauses = Pauses::endless(Duration::from_millis(200), Duration::from_secs(5));
    let lookup = Arc::new(lookup);
    while !stop.is_cancelled() {
        match serve(&context, &lookup, &stop).await {
            Ok(()) => tracing::debug!("requests about calls ended"),
            Err(error) => tracing::warn!(%error, "requests about calls are not served; trying again"),
        }
        pauses.sleep(&stop).await;
    }
}

async fn serve(
    context: &Arc<Context>,
    lookup: &Arc<Lookup>,
    stop: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let service = context
        .nats
        .service_builder()
        .description("Status of calls, and placing them")
        .start(SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await?;
    let lookups = service.endpoint(STATUS_SUBJECT).await?;
    let placements = service.endpoint(PLACE_SUBJECT).await?;
    context.nats.flush().await?; // From here on the broker knows that we answer.
    context.answers_lookups.store(true, Ordering::Relaxed);
    let find = {
        let (context, lookup) = (context.clone(), lookup.clone());
        move |request: Request| {
            let (context, lookup) = (context.clone(), lookup.clone());
            async move { find(&context, &lookup, &request).await }
        }
    };
    let place = {
        let (context, lookup) = (context.clone(), lookup.clone());
        move |request: Request| {
            let (context, lookup) = (context.clone(), lookup.clone());
            async move { place_call(&context, &lookup, &request).await }
        }
    };
    let ended = tokio::join!(
        answer_all(lookups, LOOKUPS, stop, find),
        answer_all(placements, PLACEMENTS, stop, place)
    );
    ended.0?;
    ended.1?;
    service.stop().await
}

/// Answers the requests of one endpoint, `parallel` at a time, until `stop`.
async fn answer_all<F>(
    mut requests: Endpoint,
    parallel: usize,
    stop: &CancellationToken,
    answer: impl Fn(Request) -> F,
) -> Result<(), async_nats::Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (slots, answers) = (Arc::new(Semaphore::new(parallel)), TaskTracker::new());
    loop {
        let slot = slots.clone().acquire_owned().await?;
        let Some(Some(request)) = stop.run_until_cancelled(requests.next()).await else { break };
        if !is_answerable(&request) {
            continue;
        }
        let answering = answer(request);
        answers.spawn(async move {
            answering.await;
            drop(slot);
        });
    }
    requests.stop().await?;
    // The broker gives us no more; what it has given is answered.
    while let Ok(Some(request)) = tokio::time::timeout(LAST_REQUESTS, requests.next()).await {
        if is_answerable(&request) {
            answers.spawn(answer(request));
        }
    }
    answers.close();
    answers.wait().await;
    Ok(())
}

/// Whether a request can be answered. One that cannot is logged.
fn is_answerable(request: &Request) -> bool {
    let names_inbox = is_inbox(request.message.reply.as_deref());
    if !names_inbox {
        tracing::warn!("a request about calls names no inbox for its answer; it is not answered");
    }
    names_inbox
}

/// Whether an answer may go to `reply`. Whoever asks names that subject. A stream, or the API of the broker, must
/// not be reached with the worker's rights.
fn is_inbox(reply: Option<&str>) -> bool {
    reply.is_some_and(|subject| subject.starts_with("_INBOX."))
}

async fn find(context: &Arc<Context>, lookup: &Lookup, request: &Request) {
    let mut span = span(context, "process agent-calls.status", request);
    let found = match request::Query::read(&request.message.payload) {
        Ok(query) => lookup.status(context, query).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &found {
        span.fail(refusal.code());
    }
    context.metrics.lookup(found.as_ref().map_or_else(Refusal::code, |_| "ok"));
    let room = context.nats.max_payload().saturating_sub(HEADROOM);
    match found {
        Ok(call) => respond(request, Ok(request::fit(call, room))).await,
        Err(refusal) => respond(request, Err((refusal.status(), refusal.code(), refusal.to_string()))).await,
    }
}

async fn place_call(context: &Arc<Context>, lookup: &Lookup, request: &Request) {
    let headers = request.message.headers.as_ref();
    let key = headers.and_then(|headers| headers.get(IDEMPOTENCY_KEY_HEADER)).map(ToString::to_string);
    let mut span = span(context, "process agent-calls.place", request);
    let placed = place(context, lookup.api(), &request.message.payload, key).await;
    if let Err(why) = &placed {
        span.fail(why.code());
    }
    context.metrics.placement(placed.as_ref().map_or_else(NotPlaced::code, |_| "placed"));
    match placed {
        Ok(call) => respond(request, Ok(call.to_string().into_bytes())).await,
        Err(why) => respond(request, Err((why.status(), why.code(), why.to_string()))).await,
    }
}

/// The worker's part of the trace that the request belongs to.
fn span(context: &Context, name: &'static str, request: &Request) -> Span {
    let trace = request.message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
    context.tracer.span(name, Kind::Server, trace.map(async_nats::HeaderValue::as_str))
}

/// Sends an answer, or a refusal: its HTTP status, its code, and a sentence.
async fn respond(request: &Request, answer: Result<Vec<u8>, (usize, &'static str, String)>) {
    let sent = match answer {
        Ok(body) => request.respond(Ok(body.into())).await,
        Err((code, name, status)) => {
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_CODE_HEADER, name);
            request.respond_with_headers(Err(ServiceError { code, status }), headers).await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "an answer was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_an_inbox_only() {
        for (reply, expected) in [
            (Some("_INBOX.gateway.abc"), true),
            (Some("$JS.API.STREAM.PURGE.WEBHOOKS"), false),
            (Some("dead-letters.status"), false),
            (None, false),
        ] {
            assert_eq!(is_inbox(reply), expected, "{reply:?}");
        }
    }
}
