//! The webhooks of now, while a backlog is worked off.
//!
//! Whether a call is ringing is of no interest any more once a million older webhooks are written. So while
//! the durable consumer is far behind, what comes in is taken from a second one as well and applied before
//! its turn. Nothing but the document is touched: when its turn comes it is applied once more, which
//! changes nothing, and by that alone its job is stored, its poison is buried, and it is acknowledged.

use std::time::{Duration, Instant};

use aftercall_common::contract::streams::{self, WEBHOOKS, consumer};
use async_nats::jetstream::{Message, consumer::PullConsumer};
use tokio_util::sync::CancellationToken;

use super::{buffer::Desk, parse::read, weight::Weight};
use crate::{
    Context,
    broker::{consumer::Requests, message::Stored as _},
    domain::{call::CallPatch, event::Event},
    store::{self, StoreError},
};

/// How often the distance is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Webhooks before us from which on that is far, some tenths of a second, and down to which it stays so.
const FAR: u64 = 4000;
const NEAR: u64 = 400;
/// Most webhooks applied together: few, so that the first does not wait for the last.
const MESSAGES: usize = 100;
const BYTES: usize = 4 * 1024 * 1024;
/// Longest the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the progress is logged.
const REPORT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Looks how far behind we are, until `stop`, and sees to the webhooks of now where that is far.
pub(super) async fn run(context: &Context, stop: &CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            tokio::time::sleep(LOOK).await;
            match behind(context).await {
                Ok(behind) if behind >= FAR => {
                    tracing::info!(
                        behind,
                        "far behind: webhooks that come now are applied before their turn"
                    );
                    if let Err(error) = keep_up(context, behind).await {
                        tracing::warn!(error, "webhooks that come now wait for their turn; trying again");
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(error, "the broker does not say how far behind we are"),
            }
        }
    })
    .await;
}

/// Webhooks that nobody has been given yet.
async fn behind(context: &Context) -> Result<u64, BoxError> {
    let asking = context.jetstream.get_consumer_from_stream(consumer::STATUS, WEBHOOKS);
    let consumer: PullConsumer = tokio::time::timeout(ANSWER, asking).await??;
    Ok(consumer.cached_info().num_pending)
}

/// Applies what comes in until we are near again.
async fn keep_up(context: &Context, behind_first: u64) -> Result<(), BoxError> {
    let making = context.jetstream.create_consumer_on_stream(streams::live_consumer(), WEBHOOKS);
    let consumer = tokio::time::timeout(ANSWER, making).await??;
    let mut requests = Requests::open(context.jetstream.clone(), consumer, MESSAGES, BYTES).await?;
    let mut progress = Progress { began: Instant::now(), reported: Instant::now(), first: behind_first };
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let behind = behind(context).await?;
                if behind <= NEAR {
                    tracing::info!(seconds = progress.began.elapsed().as_secs(), "caught up");
                    return Ok(());
                }
                progress.report(behind);
            }
            messages = requests.next() => apply(context, messages?).await?,
        }
    }
}

/// Applies what can be. The rest has its turn.
async fn apply(context: &Context, batch: Vec<Message>) -> Result<(), StoreError> {
    let mut desk = Desk::default();
    for message in batch.into_iter().filter(|message| message.object().is_none()) {
        let body = message.payload();
        let weight = Weight::of(&body);
        // A file is stored before the event that points to it.
        let has_no_file = |event: &Event| CallPatch::split(event.clone()).1.is_none();
        let read = if weight.is_heavy() { None } else { read(&message, &body).ok() };
        if let Some(event) = read.filter(has_no_file) {
            desk.take_in(message, Ok(event), weight);
        }
        if !desk.has_room() {
            write(context, &mut desk).await?;
        }
    }
    write(context, &mut desk).await
}

async fn write(context: &Context, desk: &mut Desk<Message>) -> Result<(), StoreError> {
    while let Some(mut batch) = desk.next() {
        let busy = batch.busy();
        let events = batch.messages().count();
        let patches: Vec<_> = batch.calls.into_iter().map(|call| call.patch).collect();
        store::write(&context.store, &patches).await?;
        desk.done(busy);
        context.metrics.applied_early(events);
    }
    Ok(())
}

/// How a backlog gets smaller.
struct Progress {
    began: Instant,
    reported: Instant,
    first: u64,
}

impl Progress {
    /// Logs it now and then.
    fn report(&mut self, behind: u64) {
        if self.reported.elapsed() < REPORT {
            return;
        }
        self.reported = Instant::now();
        let done = self.first.saturating_sub(behind);
        let per_second = done / self.began.elapsed().as_secs().max(1);
        // More may come in than is worked off.
        let seconds_left = (per_second > 0).then(|| behind / per_second);
        tracing::info!(behind, per_second, seconds_left, "working off a backlog");
    }
}
