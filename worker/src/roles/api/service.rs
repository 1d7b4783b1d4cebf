//! The NATS service: takes requests, limits how many run at a time, sends the answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::{
    contract::{
        agent_calls::{ERROR_CODE_HEADER, SERVICE_NAME},
        streams::header::TRACEPARENT,
    },
    process::trace::{Kind, Span},
};
use async_nats::{
    HeaderMap,
    service::{Request, ServiceExt as _, endpoint, error::Error as ServiceError},
};
use futures_util::{StreamExt as _, future::try_join_all};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    endpoint::{Answer, Answering, Endpoint},
    lookup::Lookup,
};
use crate::{
    Context,
    retry::Pauses,
    store::views::{Reader, Views},
};

/// How long the service still waits for requests after the end of its subscription. The broker may have sent
/// them before it learned of the end. The gateway gives up a request without an answer after 15 s.
const LAST_REQUESTS_TIMEOUT: Duration = Duration::from_millis(500);
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Answers requests until `stop`.
pub async fn run(context: Arc<Context>, lookup: Lookup, stop: CancellationToken) {
    let mut pauses = Pauses::endless(FIRST_RETRY_DELAY, MAX_RETRY_DELAY);
    let views = match Views::new(&context.config, context.metrics.clone(), Reader::Api).await {
        Ok(views) => views,
        Err(error) => {
            // The same settings connected the store before.
            tracing::error!(%error, "requests about calls cannot be answered");
            return;
        }
    };
    let answering = Arc::new(Answering { context, lookup, views: views.clone() });
    while !stop.is_cancelled() {
        match serve(&answering, &stop).await {
            Ok(()) => tracing::debug!("the service for requests about calls ended"),
            Err(error) => tracing::warn!(%error, "requests about calls cannot be answered; trying again"),
        }
        pauses.sleep(&stop).await;
    }
    views.shutdown().await;
}

async fn serve(answering: &Arc<Answering>, stop: &CancellationToken) -> Result<(), async_nats::Error> {
    let nats = &answering.context.nats;
    let service = nats.service_builder().description("Reading calls, and placing them");
    let service = service.start(SERVICE_NAME, env!("CARGO_PKG_VERSION")).await?;
    let mut endpoints = Vec::new();
    for endpoint in Endpoint::ALL {
        endpoints.push((endpoint, service.endpoint(endpoint.subject()).await?));
    }
    nats.flush().await?; // The subscriptions are on their way to the broker.
    answering.context.answers_lookups.store(true, Ordering::Relaxed);
    let ended = endpoints.into_iter().map(|(endpoint, requests)| {
        answer_all(requests, endpoint.parallel(), stop, move |request: Request| {
            let answering = answering.clone();
            async move { answer(&answering, endpoint, &request).await }
        })
    });
    try_join_all(ended).await?;
    service.stop().await
}

/// Answers the requests of one endpoint, `parallel` at a time, until `stop`.
async fn answer_all<F>(
    mut requests: endpoint::Endpoint,
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

async fn answer(answering: &Answering, endpoint: Endpoint, request: &Request) {
    let mut span = span(&answering.context, endpoint.span(), request);
    let answer = answering.answer(endpoint, &request.message).await;
    if let Err((refusal, _)) = &answer {
        span.fail(refusal.code());
    }
    respond(request, answer).await;
}

/// The span of a request, in the trace that its sender started.
fn span(context: &Context, name: &'static str, request: &Request) -> Span {
    let trace = request.message.headers.as_ref().and_then(|headers| headers.get(TRACEPARENT));
    context.tracer.span(name, Kind::Server, trace.map(async_nats::HeaderValue::as_str))
}

/// Sends the answer to a request.
async fn respond(request: &Request, answer: Answer) {
    let sent = match answer {
        Ok((body, headers)) => request.respond_with_headers(Ok(body), headers).await,
        Err((refusal, sentence)) => {
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_CODE_HEADER, refusal.code());
            let error = ServiceError { code: refusal.status().into(), status: sentence };
            request.respond_with_headers(Err(error), headers).await
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
