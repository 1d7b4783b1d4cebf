//! The status lookup, a NATS service: any number of workers share its requests.

mod lookup;
mod request;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::agent_calls::{ERROR_CODE_HEADER, SERVICE_NAME, STATUS_SUBJECT};
use async_nats::{
    HeaderMap,
    service::{Request, ServiceExt as _, error::Error as ServiceError},
};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::lookup::{Lookup, Refusal};
use crate::{Context, retry::Pauses};

/// Requests answered at a time.
const PARALLEL: usize = 64;
/// Room the broker's `max_payload` needs besides the body.
const HEADROOM: usize = 1024;

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, lookup: Lookup, stop: CancellationToken) {
    let mut pauses = Pauses::endless(Duration::from_millis(200), Duration::from_secs(5));
    let lookup = Arc::new(lookup);
    while !stop.is_cancelled() {
        match serve(&context, &lookup, &stop).await {
            Ok(()) => tracing::debug!("status lookups ended"),
            Err(error) => tracing::warn!(%error, "status lookups are not served; trying again"),
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
        .description("Status of calls")
        .start(SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await?;
    let mut requests = service.endpoint(STATUS_SUBJECT).await?;
    context.nats.flush().await?; // From here on the broker knows that we answer.
    context.answers_lookups.store(true, Ordering::Relaxed);
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let answers = TaskTracker::new();
    loop {
        let slot = slots.clone().acquire_owned().await?;
        let Some(Some(request)) = stop.run_until_cancelled(requests.next()).await else { break };
        let (context, lookup) = (context.clone(), lookup.clone());
        answers.spawn(async move {
            answer(&context, &lookup, &request).await;
            drop(slot);
        });
    }
    requests.stop().await?;
    answers.close();
    answers.wait().await;
    service.stop().await
}

async fn answer(context: &Arc<Context>, lookup: &Lookup, request: &Request) {
    let found = match request::Query::read(&request.message.payload) {
        Ok(query) => lookup.status(context, query).await,
        Err(refusal) => Err(refusal),
    };
    context.metrics.lookup(found.as_ref().map_or_else(Refusal::code, |_| "ok"));
    let room = context.nats.max_payload().saturating_sub(HEADROOM);
    let sent = match found {
        Ok(call) => request.respond(Ok(request::fit(call, room).into())).await,
        Err(refusal) => {
            let mut headers = HeaderMap::new();
            headers.insert(ERROR_CODE_HEADER, refusal.code());
            let error = ServiceError { code: refusal.status(), status: refusal.to_string() };
            request.respond_with_headers(Err(error), headers).await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "answer to a status lookup not sent");
    }
}
