//! What is looked at rather than counted: connections, the lag of consumers, what streams hold, what is owed.
//!
//! Every worker looks, so that the figures are there as long as one of them runs; they say the same, so a
//! query takes their maximum, never their sum.

use std::{sync::Arc, time::Duration};

use aftercall_common::{contract::streams, process::broker};
use async_nats::jetstream::consumer::PullConsumer;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{Context, domain::time::between};

const EVERY: Duration = Duration::from_secs(5);
/// Longest one question to the broker may take; after that the figures stay as they were.
const ANSWER: Duration = Duration::from_secs(5);

/// Looks until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    // A look at a database that hangs must not hold up the end.
    stop.run_until_cancelled(forever(&context)).await;
}

async fn forever(context: &Context) {
    loop {
        look(context).await;
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(context: &Context) {
    let connected = broker::is_connected(&context.nats);
    if connected && tokio::time::timeout(ANSWER, look_at_broker(context)).await.is_err() {
        tracing::debug!("the broker does not tell what it holds");
    }
    let owed = context.store.transcript_backlog().await;
    context.metrics.connected(connected, owed.is_ok());
    match owed {
        Ok((transcripts, since)) => {
            let now = Timestamp::now();
            let oldest = since.map_or(Duration::ZERO, |since| between(since, now));
            context.metrics.owed(transcripts, oldest);
        }
        Err(error) => tracing::debug!(%error, "owed transcripts not counted"),
    }
}

async fn look_at_broker(context: &Context) {
    let bodies = "OBJ_WEBHOOK_BODIES";
    for name in [streams::WEBHOOKS, streams::TRANSCRIPTS, streams::DEAD_LETTERS, bodies] {
        if let Ok(found) = context.jetstream.get_stream(name).await {
            let state = &found.cached_info().state;
            context.metrics.stream(name, state.messages, state.bytes);
        }
    }
    let consumers = [
        (streams::WEBHOOKS, streams::consumer::STATUS),
        (streams::TRANSCRIPTS, streams::consumer::TRANSCRIPTS),
    ];
    for (stream, name) in consumers {
        let found: Result<PullConsumer, _> = context.jetstream.get_consumer_from_stream(name, stream).await;
        if let Ok(consumer) = found {
            let info = consumer.cached_info();
            context.metrics.lag(name, info.num_pending, info.num_ack_pending);
        }
    }
}
