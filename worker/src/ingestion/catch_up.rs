//! Applies new webhooks before their turn while a backlog is processed.
//!
//! If a new webhook waited behind a million older webhooks, its status would be out of date when it is
//! written. So while the durable consumer is far behind, a second consumer delivers the new webhooks, and
//! their events are written immediately. `catch_up` writes documents only. When the durable consumer reaches
//! the same webhook, ingestion applies the webhook once more, which changes nothing, and only then enqueues
//! its transcript job or makes its message a dead letter, and acknowledges the message.

use std::time::{Duration, Instant};

use aftercall_common::contract::streams::{self, WEBHOOKS, consumer};
use async_nats::jetstream::{Message, consumer::PullConsumer};
use tokio_util::sync::CancellationToken;

use super::{buffer::Buffer, parse::read, weight::Weight};
use crate::{
    Context,
    broker::{consumer::Requests, message::StreamMessage as _},
    store::{self, StoreError},
};

/// How often the number of undelivered webhooks is read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Number of undelivered webhooks at which the consumer is far behind. Ingestion needs some tenths of a
/// second for this number.
const FAR_BEHIND: u64 = 4000;
/// Number of undelivered webhooks at which the consumer has caught up.
const CAUGHT_UP: u64 = 400;
/// Most webhooks applied together. The number is small, so that the first webhook does not wait for the last.
const MAX_MESSAGES: usize = 100;
/// Most bytes pulled at a time.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Longest time that the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads how far behind the consumer is, and applies new webhooks early while it is far behind, until `stop`.
pub(super) async fn run(context: &Context, stop: &CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match undelivered(context).await {
                Ok(behind) if behind >= FAR_BEHIND => {
                    if let Err(error) = apply_until_caught_up(context, behind).await {
                        tracing::warn!(error, "new webhooks are not applied before their turn; trying again");
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(error, "the number of undelivered webhooks is not known"),
            }
        }
    })
    .await;
}

/// Webhooks that the broker has not delivered to any worker yet.
async fn undelivered(context: &Context) -> Result<u64, BoxError> {
    let request = context.jetstream.get_consumer_from_stream(consumer::STATUS, WEBHOOKS);
    let consumer: PullConsumer = tokio::time::timeout(ANSWER_TIMEOUT, request).await??;
    Ok(consumer.cached_info().num_pending)
}

/// Applies new webhooks until the durable consumer has caught up.
async fn apply_until_caught_up(context: &Context, behind_first: u64) -> Result<(), BoxError> {
    let request = context.jetstream.create_consumer_on_stream(streams::live_consumer(), WEBHOOKS);
    let consumer = tokio::time::timeout(ANSWER_TIMEOUT, request).await??;
    let mut requests = Requests::open(context.jetstream.clone(), consumer, MAX_MESSAGES, MAX_BYTES).await?;
    // Not before: a webhook that is stored before the consumer exists waits for its turn.
    tracing::info!(
        behind = behind_first,
        "ingestion is far behind: new webhooks are applied before their turn"
    );
    let mut progress = Progress { started: Instant::now(), logged: Instant::now(), behind_first };
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    loop {
        tokio::select! {
            _ = poll.tick() => {
                let behind = undelivered(context).await?;
                if behind <= CAUGHT_UP {
                    tracing::info!(seconds = progress.started.elapsed().as_secs(), "ingestion has caught up");
                    return Ok(());
                }
                progress.log(behind);
            }
            messages = requests.next() => apply_readable(context, messages?).await?,
        }
    }
}

/// Applies the light messages that hold a readable event without a file. The other messages are applied when
/// their turn comes.
async fn apply_readable(context: &Context, batch: Vec<Message>) -> Result<(), StoreError> {
    let mut buffer = Buffer::default();
    for message in batch.into_iter().filter(|message| message.object().is_none()) {
        let body = message.payload();
        let weight = Weight::of(&body);
        let event = if weight.is_heavy() { None } else { read(&message, &body).ok() };
        if let Some(event) = event {
            // A file must be stored before the event that points to the file. So events with a file wait for
            // their turn.
            buffer.push_without_file(message, event, weight);
        }
        if !buffer.has_room() {
            write_buffered(context, &mut buffer).await?;
        }
    }
    write_buffered(context, &mut buffer).await
}

async fn write_buffered(context: &Context, buffer: &mut Buffer<Message>) -> Result<(), StoreError> {
    while let Some(mut batch) = buffer.next_batch() {
        let reservation = batch.take_reservation();
        let events = batch.messages().count();
        let patches: Vec<_> = batch.calls.into_iter().map(|call| call.patch).collect();
        store::apply(&context.store, &patches).await?;
        buffer.release(reservation);
        context.metrics.applied_early(events);
    }
    Ok(())
}

/// The progress through a backlog.
struct Progress {
    started: Instant,
    logged: Instant,
    /// Undelivered webhooks at the start.
    behind_first: u64,
}

impl Progress {
    /// Logs the progress every [`LOG_INTERVAL`].
    fn log(&mut self, behind: u64) {
        if self.logged.elapsed() < LOG_INTERVAL {
            return;
        }
        self.logged = Instant::now();
        let done = self.behind_first.saturating_sub(behind);
        let per_second = done / self.started.elapsed().as_secs().max(1);
        // Unknown if webhooks arrive faster than they are processed.
        let seconds_left = (per_second > 0).then(|| behind / per_second);
        tracing::info!(behind, per_second, seconds_left, "processing a backlog");
    }
}
