//! One batch: write, follow up, settle.
//!
//! Invariant: a message is acknowledged only after a majority has its change in the journal and the job that
//! follows from it is stored; it is terminated only after its copy is among the dead letters. A crash
//! anywhere in between leaves it to come again, which changes nothing.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use aftercall_common::{
    contract::streams::{self, consumer},
    process::trace,
};
use async_nats::jetstream::AckKind;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{
    buffer::{Batch, Call, Line},
    traces::Traces,
};
use crate::{
    broker::message::Stored as _,
    dead_letters::give_up,
    domain::{
        call::{Attachment, CallPatch, Status},
        cause::Cause,
        time::between,
    },
    ports::{Outside, REDELIVER_AFTER},
    store::{self, Applied, Calls as _, Changed, StoreError},
};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// How long a write under way is waited for once the process stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Applies a batch. Gives its messages back where the process stops before the database took it.
pub async fn work<O: Outside>(
    outside: &O,
    mut batch: Batch<O::Message>,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let started = Instant::now();
    let dead = std::mem::take(&mut batch.dead);
    let (mut patches, mut files) = (Vec::new(), Vec::new());
    let mut calls: Vec<Vec<(O::Message, Line)>> = Vec::new();
    for Call { patch, messages, files: of_call, .. } in std::mem::take(&mut batch.calls) {
        patches.push(patch);
        files.extend(of_call);
        calls.push(messages);
    }
    let mut traces = Traces::begin(outside.tracer(), &calls);
    let begun = outside.now();
    let held = || calls.iter().flatten().map(|(message, _)| message);
    let buried = async {
        for (message, cause) in &dead {
            if cause.foreign_family().is_none() {
                traces.poison(message, cause.label);
            }
            give_up(outside, consumer::STATUS, message, cause).await;
        }
    };
    let written = async {
        tokio::select! {
            biased;
            written = write(outside, &patches, &files, stop) => written,
            () = overdue(stop) => None, // A write under way may yet land: it can be repeated.
        }
    };
    let ((), changes) = at_work(outside, held, async { tokio::join!(buried, written) }).await;
    let Some(changes) = changes else {
        return calls.into_iter().flatten().map(|(message, _)| message).collect();
    };
    traces.written(patches.len(), begun);
    let stored = at_work(outside, held, owe(outside, &changes, &traces)).await;
    for (n, (messages, change)) in calls.iter().zip(&changes).enumerate() {
        for (message, line) in messages {
            match change {
                Changed::Applied(applied) => {
                    let kind = if stored[n] { AckKind::Ack } else { AckKind::Nak(Some(REDELIVER_AFTER)) };
                    outside.settle(message, kind).await;
                    report(outside, message, line, applied, started);
                }
                Changed::Refused { label, detail } => {
                    traces.dead(n, label);
                    let cause = Cause { label, detail: detail.clone() };
                    give_up(outside, consumer::STATUS, message, &cause).await;
                }
            }
        }
    }
    outside.metrics().batch(held().count() + dead.len(), started.elapsed());
    Vec::new()
}

/// Counts and logs an event that is part of its call now.
fn report<O: Outside>(outside: &O, message: &O::Message, line: &Line, applied: &Applied, started: Instant) {
    let came = message.received_at().unwrap_or(line.stored_at);
    outside.metrics().applied(line.status, line.failure, between(came, outside.now()));
    // Not every event is worth a line at info: the document's history says the same.
    tracing::debug!(
        call_id = line.call_id.as_deref(),
        conversation_id = line.conversation_id.as_deref(),
        event = line.event_type,
        event_id = %line.id,
        status_before = applied.before.map(Status::as_str),
        status_after = applied.after.map(Status::as_str),
        attempt = message.delivered(),
        duration_ms = started.elapsed().as_millis(),
        trace_id = message.traceparent().and_then(trace::trace_id),
        "event applied"
    );
}

/// Awaits `work`, and tells the broker meanwhile that we are still at it: it would give the messages to
/// another worker.
pub async fn at_work<'a, O: Outside, T, I: Iterator<Item = &'a O::Message>>(
    outside: &O,
    messages: impl Fn() -> I,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let step = streams::ACK_WAIT / 3;
    // A tick at once would take the timer a millisecond.
    let mut progress = tokio::time::interval_at(tokio::time::Instant::now() + step, step);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = progress.tick() => for message in messages() {
                outside.settle(message, AckKind::Progress).await;
            },
        }
    }
}

/// Ends [`DRAIN`] after `stop`.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}

/// Writes until the database takes it. `None` where the process stops first.
async fn write(
    outside: &impl Outside,
    patches: &[CallPatch],
    files: &[(String, Attachment)],
    stop: &CancellationToken,
) -> Option<Vec<Changed>> {
    let mut pauses = outside.pauses(RETRY_FIRST, RETRY_MOST);
    loop {
        match try_write(outside, patches, files).await {
            Ok(changes) => return Some(changes),
            Err(error) => {
                outside.metrics().store_retry();
                tracing::warn!(%error, calls = patches.len(), "calls not written; trying again");
            }
        }
        if !pauses.sleep(stop).await {
            return None;
        }
    }
}

async fn try_write(
    outside: &impl Outside,
    patches: &[CallPatch],
    files: &[(String, Attachment)],
) -> Result<Vec<Changed>, StoreError> {
    for (id, file) in files {
        outside.calls().save_file(id, file).await?;
    }
    store::apply(outside.calls(), patches).await
}

/// Stores the transcript jobs that follow from a batch; for each call whether nothing is missing.
///
/// What is owed is read from the stored call and not from the event: after a crash between the two
/// writes the redelivered event changes nothing, yet the job is still missing.
async fn owe<O: Outside>(outside: &O, changes: &[Changed], traces: &Traces<'_, O::Message>) -> Vec<bool> {
    let stored = changes.iter().enumerate().map(async |(n, change)| {
        let Changed::Applied(Applied { transcripts_due, .. }) = change else {
            return true;
        };
        for conversation in transcripts_due {
            if let Err(error) = outside.owe(conversation, traces.context(n).as_deref()).await {
                let conversation_id = conversation.as_str();
                tracing::warn!(conversation_id, %error, "transcript job not stored; trying again");
                return false;
            }
        }
        true
    });
    join_all(stored).await
}
