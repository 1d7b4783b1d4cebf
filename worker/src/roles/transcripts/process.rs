//! One job: ask, decide, store, settle.
//!
//! Invariant: a job is acknowledged only after its outcome, or the job that follows it, is stored.

use std::time::Duration;

use aftercall_common::{
    contract::streams::consumer,
    process::trace::{self, Kind, Span},
};
use async_nats::jetstream::AckKind;

use super::policy::{self, Next, decide};
use crate::{
    broker::{message::Stored as _, transcript_jobs::Job},
    dead_letters::give_up,
    domain::{
        call::size::fit_transcript,
        cause::Cause,
        time::{after, between},
    },
    elevenlabs::{ApiError, Conversation},
    ports::{Outside, Provider, REDELIVER_AFTER},
    store::{Calls as _, StoreError, TranscriptResolution, fetched_transcript, value_to_bson},
};

/// Does one job and settles its message.
pub async fn work<O: Outside>(
    outside: &O,
    api: &impl Provider,
    give_up_after: Duration,
    message: &O::Message,
) {
    if message.delivered() > 1 {
        outside.metrics().redelivered(consumer::TRANSCRIPTS);
    }
    let job = match Job::read(&message.payload(), message.traceparent()) {
        Ok(job) => job,
        Err(detail) => {
            let cause = Cause { label: "invalid_job", detail };
            return give_up(outside, consumer::TRANSCRIPTS, message, &cause).await;
        }
    };
    let mut span = outside.tracer().span("process TRANSCRIPTS", Kind::Consumer, job.trace.as_deref());
    span.set("messaging.system", || "nats");
    span.set("aftercall.attempt", || i64::from(job.attempt));
    match fetch(outside, api, give_up_after, &job, &span).await {
        Ok(()) => outside.settle(message, AckKind::Ack).await,
        Err(error) => {
            let conversation_id = job.conversation_id.as_str();
            tracing::warn!(conversation_id, %error, "outcome of a transcript job not stored; trying again");
            span.fail("not_stored");
            outside.settle(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the job could not be scheduled: {0}")]
    Broker(async_nats::Error),
    #[error("the call was being merged with its other half")]
    Moved,
}

async fn fetch(
    outside: &impl Outside,
    api: &impl Provider,
    give_up_after: Duration,
    job: &Job,
    span: &Span,
) -> Result<(), JobError> {
    let conversation_id = job.conversation_id.as_str();
    let trace_id = job.trace.as_deref().and_then(trace::trace_id);
    let Some(pending) = outside.calls().pending_transcript(&job.conversation_id).await? else {
        tracing::debug!(conversation_id, "transcript is no longer owed");
        return Ok(());
    };
    let answer = match api.closed_until(outside.now()) {
        Some(_) => None, // Closed since the job was pulled.
        None => Some(ask(outside, api, job, span).await),
    };
    let now = outside.now();
    let waits = policy::Waits {
        // Told by the call and not by the job: a job made anew does not start the wait anew.
        give_up_at: after(pending.since.unwrap_or(now), give_up_after),
        closed_until: api.closed_until(now),
        jitter: outside.chance(),
    };
    match decide(answer, job, &waits, now) {
        Next::Save(turns) => {
            let count = turns.len();
            let file = fetched_transcript(&job.conversation_id);
            let (turns, attachment) = fit_transcript(&file, turns);
            if let Some(attachment) = attachment {
                outside.calls().save_file(&file, &attachment).await?;
            }
            let resolution = match value_to_bson(&turns) {
                Some(transcript) => {
                    TranscriptResolution::Saved { transcript, at: now, attempts: job.attempt + 1 }
                }
                None => TranscriptResolution::Unavailable {
                    reason: "it holds what MongoDB cannot store".to_owned(),
                    at: now,
                },
            };
            let mut saving = outside.tracer().child("update agent_calls", Kind::Client, span);
            saving.set("db.system.name", || "mongodb");
            store(outside, job, resolution).await?;
            drop(saving);
            outside.metrics().transcript("saved");
            if let Some(since) = pending.since {
                outside.metrics().transcript_delay(between(since, now));
            }
            tracing::info!(
                conversation_id,
                turns = count,
                attempt = job.attempt,
                trace_id,
                "transcript saved"
            );
        }
        Next::GiveUp(reason) => {
            // The reason may hold ElevenLabs' own words, and those anything: it is in the document only.
            tracing::warn!(conversation_id, attempt = job.attempt, trace_id, "transcript given up");
            store(outside, job, TranscriptResolution::Unavailable { reason, at: now }).await?;
            outside.metrics().transcript("unavailable");
        }
        Next::Later { at, attempt, why } => {
            let job = Job { attempt, ..job.clone() };
            outside.later(&job, at).await.map_err(JobError::Broker)?;
            outside.metrics().transcript("waiting");
            tracing::info!(conversation_id, attempt, next = %at, why, trace_id, "transcript is not ready");
        }
    }
    Ok(())
}

async fn ask(
    outside: &impl Outside,
    api: &impl Provider,
    job: &Job,
    span: &Span,
) -> Result<Conversation, ApiError> {
    let mut asking = outside.tracer().child("GET /v1/convai/conversations/{id}", Kind::Client, span);
    asking.set("http.request.method", || "GET");
    let answer = api.conversation(&job.conversation_id).await;
    if let Err(error) = &answer {
        asking.fail(error.label());
    }
    answer
}

/// Stores the outcome of `job`, which is done only when the call owes nothing any more.
async fn store(outside: &impl Outside, job: &Job, resolution: TranscriptResolution) -> Result<(), JobError> {
    let stored = match outside.calls().resolve_transcript(&job.conversation_id, resolution).await {
        Err(StoreError::Refused(why)) => {
            let reason = format!("it cannot be stored: {why}");
            let unavailable = TranscriptResolution::Unavailable { reason, at: outside.now() };
            outside.calls().resolve_transcript(&job.conversation_id, unavailable).await?
        }
        stored => stored?,
    };
    if stored {
        return Ok(());
    }
    match outside.calls().pending_transcript(&job.conversation_id).await? {
        Some(_) => Err(JobError::Moved),
        None => Ok(()),
    }
}
