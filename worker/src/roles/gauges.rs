//! Gauges that are measured at intervals: connections, the lag of consumers, the size of streams, pending
//! transcripts.
//!
//! Every worker measures them, so the values exist as long as one worker runs. All workers report the same
//! values; therefore a query takes their maximum, not their sum.

use std::{sync::Arc, time::Duration};

use aftercall_common::{contract::streams, process::broker};
use async_nats::jetstream::consumer::PullConsumer;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{Context, domain::time::between};

/// Interval between two measurements.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest time for the answers of the broker. After this time, the gauges of the broker keep their values.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Measures until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    // `stop` also cancels a measurement in progress, because a database that does not answer must not delay
    // the stop.
    stop.run_until_cancelled(measure_forever(&context)).await;
}

async fn measure_forever(context: &Context) {
    loop {
        measure(context).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn measure(context: &Context) {
    let connected = broker::is_connected(&context.nats);
    if connected && tokio::time::timeout(TIMEOUT, measure_broker(context)).await.is_err() {
        tracing::debug!("the gauges of the broker keep their values: NATS did not answer in time");
    }
    let pending = context.store.transcript_backlog().await;
    context.metrics.connected(connected, pending.is_ok());
    match pending {
        Ok((transcripts, since)) => {
            let now = Timestamp::now();
            let oldest = since.map_or(Duration::ZERO, |since| between(since, now));
            context.metrics.owed(transcripts, oldest);
        }
        Err(error) => tracing::debug!(%error, "pending transcripts were not counted: MongoDB did not answer"),
    }
}

async fn measure_broker(context: &Context) {
    let bodies = "OBJ_WEBHOOK_BODIES";
    let names = [
        streams::WEBHOOKS,
        streams::TRANSCRIPTS,
        streams::DEAD_LETTERS,
        streams::CALLS,
        streams::DELIVERIES,
        bodies,
    ];
    for name in names {
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
