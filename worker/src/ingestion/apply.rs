//! Applies one batch: writes the patches, enqueues transcript jobs, acknowledges the messages.
//!
//! Invariants:
//! - A message is acknowledged only after a majority of the MongoDB servers has its change in the journal and
//!   the broker has stored the transcript job that follows from the change.
//! - A message is terminated only after its copy is in `DEAD_LETTERS`.
//!
//! A crash between two steps leaves the message unacknowledged. The broker delivers it again, and applying it
//! again changes nothing.

use std::{collections::HashSet, time::Instant};

use aftercall_common::{
    contract::streams::consumer,
    phone_numbers::Numbers,
    process::{
        success_log::{MAX_LINES, Sums},
        trace,
    },
};
use async_nats::jetstream::AckKind;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{
    buffer::{Batch, EventSummary, PendingCall},
    delivery::with_progress,
    traces::Traces,
    write::write_or_stop,
};
use crate::{
    broker::message::StreamMessage as _,
    dead_letters::give_up,
    domain::{call::Status, cause::Cause, time::between},
    ports::{Ports, REDELIVER_AFTER},
    store::{Applied, PatchResult},
};

/// Applies a batch. Returns the messages of the batch if the process stops before the database has accepted
/// the batch.
pub(super) async fn apply_batch<P: Ports>(
    ports: &P,
    batch: Batch<P::Message>,
    stop: &CancellationToken,
) -> Vec<P::Message> {
    let started = Instant::now();
    let (mut patches, mut files) = (Vec::new(), Vec::new());
    let mut calls: Vec<Vec<(P::Message, EventSummary)>> = Vec::new();
    for PendingCall { patch, messages, files: of_call, .. } in batch.calls {
        patches.push(patch);
        files.extend(of_call);
        calls.push(messages);
    }
    let dead = batch.dead;
    let mut traces = Traces::begin(ports.tracer(), &calls);
    let write_started = ports.now();
    let held = || calls.iter().flatten().map(|(message, _)| message);
    let steps = async {
        tokio::join!(give_up_unreadable(ports, &dead, &traces), write_or_stop(ports, &patches, &files, stop))
    };
    let ((), changes) = with_progress(ports, held, steps).await;
    let Some(changes) = changes else {
        return calls.into_iter().flatten().map(|(message, _)| message).collect();
    };
    traces.written(patches.len(), write_started);
    let enqueued = with_progress(ports, held, enqueue_jobs(ports, &calls, &changes, &traces)).await;
    for (n, (messages, change)) in calls.iter().zip(&changes).enumerate() {
        for (message, event) in messages {
            match change {
                PatchResult::Applied(applied) => {
                    let kind = if enqueued[n] { AckKind::Ack } else { AckKind::Nak(Some(REDELIVER_AFTER)) };
                    ports.acknowledge(message, kind).await;
                    report(ports, message, event, applied, started);
                }
                PatchResult::Refused { reason, detail } => {
                    traces.refused(n, *reason);
                    let cause = Cause { reason: *reason, detail: detail.clone() };
                    give_up(ports, consumer::STATUS, message, &cause).await;
                }
            }
        }
    }
    ports.metrics().batch(held().count() + dead.len(), started.elapsed());
    Vec::new()
}

/// Gives up the messages that hold no event.
async fn give_up_unreadable<P: Ports>(
    ports: &P,
    dead: &[(P::Message, Cause)],
    traces: &Traces<'_, P::Message>,
) {
    for (message, cause) in dead {
        if cause.foreign_family().is_none() {
            traces.unreadable(message, cause.reason);
        }
        give_up(ports, consumer::STATUS, message, cause).await;
    }
}

/// Enqueues the jobs that follow from a batch. Returns for each call whether all its jobs are
/// stored.
///
/// A transcript job is determined by the stored call and not by the events: after a crash between the write and the
/// job, the redelivered event changes nothing, but the job is still missing.
///
/// A recording job is determined by the event: while the event is redelivered, its job may be missing.
async fn enqueue_jobs<P: Ports>(
    ports: &P,
    calls: &[Vec<(P::Message, EventSummary)>],
    changes: &[PatchResult],
    traces: &Traces<'_, P::Message>,
) -> Vec<bool> {
    let enqueued = changes.iter().enumerate().map(async |(n, change)| {
        let PatchResult::Applied(Applied { transcripts_due, .. }) = change else {
            return true;
        };
        for conversation in transcripts_due {
            if let Err(error) = ports.enqueue_job(conversation, traces.context(n).as_deref()).await {
                let conversation_id = conversation.as_str();
                tracing::warn!(conversation_id, %error, "transcript job not stored; trying again");
                return false;
            }
        }
        let recorded: HashSet<_> = calls[n].iter().filter_map(|(_, event)| event.recorded.as_ref()).collect();
        for conversation in recorded {
            if let Err(error) = ports.enqueue_recording(conversation, traces.context(n).as_deref()).await {
                let conversation_id = conversation.as_str();
                tracing::warn!(conversation_id, %error, "recording job not stored; trying again");
                return false;
            }
        }
        true
    });
    join_all(enqueued).await
}

/// Counts and logs an applied event. The number of lines is bounded.
fn report<P: Ports>(
    ports: &P,
    message: &P::Message,
    event: &EventSummary,
    applied: &Applied,
    started: Instant,
) {
    let received_at = message.received_at().unwrap_or(event.stored_at);
    ports.metrics().applied(event.status, event.failure, between(received_at, ports.now()));
    let is_logged = tracing::enabled!(tracing::Level::DEBUG)
        || ports.successes().has_line(event.event_type, Instant::now());
    if !is_logged {
        return;
    }
    // A dialler may use the number of the callee as the id of the call.
    let masked = |id: &str| Numbers::Masked.id(id).into_owned();
    tracing::info!(
        call_id = event.call_id.as_deref().map(masked),
        conversation_id = event.conversation_id.as_deref().map(masked),
        event = event.event_type,
        // The id of an event that Aftercall makes itself contains the id of its conversation.
        event_id = masked(&event.id),
        status_before = applied.before.map(Status::as_str),
        status_after = applied.after.map(Status::as_str),
        attempt = message.delivered(),
        duration_ms = started.elapsed().as_millis(),
        trace_id = message.traceparent().and_then(trace::trace_id),
        "event applied"
    );
}

/// Logs the number of applied events that have no line of their own.
pub(super) fn log_sums(sums: &Sums) {
    let events = sums.total();
    tracing::info!(events, kinds = %sums, "events applied beyond the {MAX_LINES} that have a line in one second");
}
