//! The NATS service: takes requests, limits how many run at a time, sends the answers.

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

use super::{
    lookup::{Lookup, LookupError, LookupRequest, fit},
    placing::{PlacementError, place},
};
use crate::{Context, retry::Pauses};

/// Lookups that run at the same time.
const MAX_LOOKUPS: usize = 64;
/// Placements that run at the same time. ElevenLabs answers slowly, and allows a few dozen calls at the same
/// time.
const MAX_PLACEMENTS: usize = 64;
/// How long the service still waits for requests after the end of its subscription. The broker may have sent
/// them before it learned of the end. The gateway gives up a request without an answer after 15 s.
const LAST_REQUESTS_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of an answer besides its body; the broker counts both against `max_payload`.
const HEADER_BYTES: usize = 1024;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The answer to a request: a body, or HTTP status, code and text of an error.
type Answer = Result<Vec<u8>, (usize, &'static str, String)>;

/// Answers requests until `stop`.
pub async fn run(context: Arc<Context>, lookup: Lookup, stop: CancellationToken) {
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    let lookup = Arc::new(lookup);
    while !stop.is_cancelled() {
        match serve(&context, &lookup, &stop).await {
            Ok(()) => tracing::debug!("the service for requests about calls ended"),
            Err(error) => tracing::warn!(%error, "requests about calls cannot be answered; trying again"),
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
    context.nats.flush().await?; // Now the broker knows the service.
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
        answer_all(lookups, MAX_LOOKUPS, stop, find),
        answer_all(placements, MAX_PLACEMENTS, stop, place)
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
    // The broker sends no further requests. The requests that it has already sent are answered.
    while let Ok(Some(request)) = tokio::time::timeout(LAST_REQUESTS_TIMEOUT, requests.next()).await {
        if is_answerable(&request) {
            answers.spawn(answer(request));
        }
    }
    answers.close();
    answers.wait().await;
    Ok(())
}

/// Whether a request can be answered. Logs a request that cannot be answered.
fn is_answerable(request: &Request) -> bool {
    let names_inbox = is_inbox(request.message.reply.as_deref());
    if !names_inbox {
        tracing::warn!("a request about calls is not answered: its reply subject is no inbox");
    }
    names_inbox
}

/// Whether an answer may be sent to `reply`. The sender of the request chooses that subject, and must not
/// use the worker's permissions to publish to a stream or to the broker's API.
fn is_inbox(reply: Option<&str>) -> bool {
    reply.is_some_and(|subject| subject.starts_with("_INBOX."))
}

async fn find(context: &Arc<Context>, lookup: &Lookup, request: &Request) {
    let mut span = span(context, "process agent-calls.status", request);
    let found = match LookupRequest::read(&request.message.payload) {
        Ok(query) => lookup.status(context, query).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &found {
        span.fail(error.code());
    }
    context.metrics.lookup(found.as_ref().map_or_else(LookupError::code, |_| "ok"));
    let max_bytes = context.nats.max_payload().saturating_sub(HEADER_BYTES);
    match found {
        Ok(call) => respond(request, Ok(fit(call, max_bytes))).await,
        Err(error) => respond(request, Err((error.status(), error.code(), error.to_string()))).await,
    }
}

async fn place_call(context: &Arc<Context>, lookup: &Lookup, request: &Request) {
    let headers = request.message.headers.as_ref();
    let key = headers.and_then(|headers| headers.get(IDEMPOTENCY_KEY_HEADER)).map(ToString::to_string);
    let mut span = span(context, "process agent-calls.place", request);
    let placed = place(context, lookup.api(), &request.message.payload, key).await;
    if let Err(error) = &placed {
        span.fail(error.code());
    }
    context.metrics.placement(placed.as_ref().map_or_else(PlacementError::code, |_| "placed"));
    match placed {
        Ok(call) => respond(request, Ok(call.to_string().into_bytes())).await,
        Err(error) => respond(request, Err((error.status(), error.code(), error.to_string()))).await,
    }
}

/// The span of a request, in the trace that its sender started.
fn span(context: &Context, name: &'static str, request: &Request) -> Span {
    let trace = request.message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
    context.tracer.span(name, Kind::Server, trace.map(async_nats::HeaderValue::as_str))
}

/// Sends the answer to a request.
async fn respond(request: &Request, answer: Answer) {
    let sent = match answer {
        Ok(body) => request.respond(Ok(body.into())).await,
        Err((code, name, status)) => {
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_CODE_HEADER, name);
            request.respond_with_headers(Err(ServiceError { code, status }), headers).await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "the answer to a request about calls was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sent_to_inboxes_only() {
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
