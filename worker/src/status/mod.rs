//! Webhooks → the state of calls: pull, parse, join, write, settle.
//!
//! A message is acknowledged only after its change is in a majority's journal and the transcript
//! job that follows from it is stored. Until then it may come again, which changes nothing.

mod batch;
mod bodies;
mod traces;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::{
    stream::{self, consumer},
    trace,
};
use async_nats::jetstream::{self, AckKind, Message};
use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(crate) use self::traces::traceparent;
use self::{
    batch::{Batch, Fate},
    bodies::NoBody,
    traces::Traces,
};
use crate::{
    Context,
    call::{CallPatch, Status},
    clock::between,
    dead_letters::{self, Cause},
    event::{Event, Recording},
    pull::{Batches, Source, settle},
    retry::Pauses,
    store::Changed,
    transcripts,
};

const MAX_MESSAGES: usize = 500;
const MAX_BYTES: usize = 32 * 1024 * 1024;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// How long a write under way is waited for once the process stops.
const DRAIN: Duration = Duration::from_secs(5);
/// After a job could not be stored: short, since a delayed message counts as pending.
const REDELIVER_AFTER: Duration = Duration::from_secs(2);

/// The body of a stored webhook, wherever it is; an error where it cannot be had.
pub async fn body_of(context: &jetstream::Context, message: &Message) -> Result<Bytes, Cause> {
    let Some(object) = bodies::elsewhere(message) else { return Ok(message.payload.clone()) };
    Box::pin(bodies::fetch(context, object)).await.map_err(|error| match error {
        NoBody::Dead(cause) => cause,
        NoBody::Later(detail) => Cause { label: "body_missing", detail },
    })
}

/// What a stored webhook says, its body given.
pub fn parse_stored(message: &Message, body: &[u8]) -> Result<Event, Cause> {
    batch::parse(message, body)
}

/// What a stored webhook says.
pub async fn stored_event(context: &jetstream::Context, message: &Message) -> Result<Event, Cause> {
    parse_stored(message, &body_of(context, message).await?)
}

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let source = Source {
        stream: stream::WEBHOOKS,
        consumer: consumer::STATUS,
        messages: MAX_MESSAGES,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let mut unsettled = Vec::new();
    while unsettled.is_empty()
        && let Some(messages) = batches.next(&stop).await
    {
        // One body that is not in its message fills a batch by itself.
        let (large, small): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| bodies::elsewhere(message).is_some());
        if !small.is_empty() {
            let payloads: Vec<_> = small.iter().map(|message| message.payload.clone()).collect();
            unsettled = process(&context, small, &payloads, &stop).await;
        }
        for message in large {
            if stop.is_cancelled() {
                unsettled.push(message);
            } else {
                unsettled.extend(Box::pin(process_large(&context, message, &stop)).await);
            }
        }
    }
    batches.release(unsettled).await;
}

/// Fetches the body of one message and applies it.
async fn process_large(context: &Context, message: Message, stop: &CancellationToken) -> Vec<Message> {
    let object = bodies::elsewhere(&message).unwrap_or_default();
    let fetching = bodies::fetch(&context.jetstream, object);
    match Box::pin(at_work(std::slice::from_ref(&message), fetching)).await {
        Ok(body) => return process(context, vec![message], &[body], stop).await,
        Err(NoBody::Dead(cause)) => {
            dead_letters::bury(context, consumer::STATUS, &message, &cause).await;
        }
        Err(NoBody::Later(why)) => {
            tracing::warn!(object, why, "the body of a webhook could not be read; trying again");
            settle(&message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
    Vec::new()
}

/// Applies one batch. Gives it back where the process stops before the database took it.
async fn process(
    context: &Context,
    messages: Vec<Message>,
    bodies: &[Bytes],
    stop: &CancellationToken,
) -> Vec<Message> {
    let started = Instant::now();
    for message in &messages {
        if message.info().is_ok_and(|info| info.delivered > 1) {
            context.metrics.redelivered(consumer::STATUS);
        }
    }
    let mut batch = Batch::of(messages.iter().zip(bodies.iter().map(|body| &body[..])));
    let (patches, recordings) = (batch.take_patches(), batch.take_recordings());
    let mut traces = Traces::begin(&context.tracer, &messages);
    let begun = Timestamp::now();
    let Some(changes) = apply(context, &messages, (&patches, &recordings), stop).await else {
        return messages;
    };
    traces.written(patches.len(), begun);
    let jobless = owed(context, &batch, &changes, &traces).await;
    let now = Timestamp::now();
    for (n, (message, fate)) in messages.iter().zip(batch.fates(&changes)).enumerate() {
        match fate {
            Fate::Applied { event, applied, patch } => {
                let stored = !jobless.contains(&patch);
                settle(message, if stored { AckKind::Ack } else { AckKind::Nak(Some(REDELIVER_AFTER)) })
                    .await;
                let came = batch::received_at(message).unwrap_or(event.stored_at);
                context.metrics.applied(event.status, event.failure, between(came, now));
                tracing::info!(
                    call_id = event.call_id.as_deref(),
                    conversation_id = event.conversation_id.as_deref(),
                    event = event.event_type,
                    event_id = %event.id,
                    status_before = applied.before.map(Status::as_str),
                    status_after = applied.after.map(Status::as_str),
                    attempt = message.info().map_or(0, |info| info.delivered),
                    duration_ms = started.elapsed().as_millis(),
                    trace_id = traceparent(message).and_then(trace::trace_id),
                    "event applied"
                );
            }
            Fate::Dead(cause) => {
                traces.dead(n, cause.label);
                dead_letters::bury(context, consumer::STATUS, message, &cause).await;
            }
        }
    }
    drop(traces);
    context.metrics.batch(messages.len(), started.elapsed());
    Vec::new()
}

/// Awaits `work`, and tells the broker meanwhile that we are still at it: it would give the messages to
/// another worker.
async fn at_work<T>(messages: &[Message], work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut progress = tokio::time::interval(stream::ACK_WAIT / 3);
    progress.tick().await; // The first is at once.
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = progress.tick() => for message in messages {
                settle(message, AckKind::Progress).await;
            },
        }
    }
}

/// Writes until the database takes it. `None` where the process stops first.
async fn apply(
    context: &Context,
    messages: &[Message],
    claims: Claims<'_>,
    stop: &CancellationToken,
) -> Option<Vec<Changed>> {
    let written = async {
        tokio::select! {
            written = write(context, claims, stop) => written,
            () = overdue(stop) => None, // A write under way may yet land: it can be repeated.
        }
    };
    at_work(messages, written).await
}

/// Ends [`DRAIN`] after `stop`.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// What a batch claims: patches, and the recordings some of them point to.
type Claims<'a> = (&'a [CallPatch], &'a [(String, Recording)]);

async fn write(context: &Context, claims: Claims<'_>, stop: &CancellationToken) -> Option<Vec<Changed>> {
    let (patches, recordings) = claims;
    let mut pauses = Pauses::endless(RETRY_FIRST, RETRY_MOST);
    loop {
        let written = async {
            for (id, recording) in recordings {
                context.store.save_recording(id, recording).await?;
            }
            context.store.apply(patches).await
        };
        match written.await {
            Ok(changes) => return Some(changes),
            Err(error) => {
                context.metrics.store_retry();
                tracing::warn!(%error, calls = patches.len(), "calls not written; trying again");
            }
        }
        if !pauses.sleep(stop).await {
            return None;
        }
    }
}

/// Publishes the transcript jobs that follow from a batch; the patches whose job could not be stored.
///
/// What is owed is read from the stored call and not from the event: after a crash between the two
/// writes the redelivered event changes nothing, yet the job is still missing.
async fn owed(context: &Context, batch: &Batch, changes: &[Changed], traces: &Traces<'_>) -> Vec<usize> {
    let due = changes.iter().enumerate().filter_map(|(n, change)| match change {
        Changed::Applied(applied) if batch.may_owe(n) => Some((n, applied.transcript_due.as_ref()?)),
        Changed::Applied(_) | Changed::Refused { .. } => None,
    });
    let stored = due.map(async |(n, conversation)| {
        let trace = batch.message_of(n).and_then(|message| traces.context(message));
        match transcripts::owe(&context.jetstream, conversation, trace.as_deref()).await {
            Ok(()) => None,
            Err(error) => {
                let conversation_id = conversation.as_str();
                tracing::warn!(conversation_id, %error, "transcript job not stored; trying again");
                Some(n)
            }
        }
    });
    join_all(stored).await.into_iter().flatten().collect()
}
