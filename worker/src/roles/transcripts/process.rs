//! Processes one job: asks ElevenLabs, decides, stores the outcome, acknowledges.
//!
//! Invariant: a job is acknowledged only after its outcome, or the job that follows it, is stored.

use std::time::Duration;

use aftercall_common::{
    contract::streams::consumer,
    process::trace::{self, Kind, Span},
};
use async_nats::jetstream::AckKind;
use jiff::Timestamp;
use serde_json::Value;

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
    store::{Calls as _, Settled, StoreError, fetched_transcript, value_to_bson},
};

/// Processes one job and acknowledges its message. A message that is no job becomes a dead letter.
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
            tracing::warn!(conversation_id, %error, "the outcome of a transcript job was not stored; trying again");
            span.fail("not_stored");
            outside.settle(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}

/// Why the outcome of a job was not stored.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the job could not be scheduled: {0}")]
    Broker(async_nats::Error),
    #[error("the documents of the call were being merged")]
    Moved,
}

/// Fetches the conversation of `job` and stores what follows from it. Nothing is done if no transcript is
/// pending.
async fn fetch(
    outside: &impl Outside,
    api: &impl Provider,
    give_up_after: Duration,
    job: &Job,
    span: &Span,
) -> Result<(), JobError> {
    let conversation_id = job.conversation_id.as_str();
    let trace_id = job.trace.as_deref().and_then(trace::trace_id);
    let Some(owing) = outside.calls().owing(&job.conversation_id).await? else {
        tracing::debug!(conversation_id, "the transcript is no longer pending");
        return Ok(());
    };
    let answer = match api.closed_until(outside.now()) {
        Some(_) => None, // The API stopped accepting requests after the job was pulled.
        None => Some(ask(outside, api, job, span).await),
    };
    let now = outside.now();
    let schedule = policy::Schedule {
        // Counted from the time stored in the call, because a restored job does not restart the wait.
        give_up_at: after(owing.since.unwrap_or(now), give_up_after),
        closed_until: api.closed_until(now),
        jitter: outside.chance(),
    };
    match decide(answer, job, &schedule, now) {
        Next::Save(turns) => {
            let count = turns.len();
            save(outside, job, turns, now, span).await?;
            outside.metrics().transcript("saved");
            if let Some(since) = owing.since {
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
            // The reason is not logged, because it can contain text of ElevenLabs with personal data.
            tracing::warn!(conversation_id, attempt = job.attempt, trace_id, "transcript given up");
            store(outside, job, Settled::Unavailable { reason, at: now }).await?;
            outside.metrics().transcript("unavailable");
        }
        Next::Retry { at, attempt, reason } => {
            let job = Job { attempt, ..job.clone() };
            outside.later(&job, at).await.map_err(JobError::Broker)?;
            outside.metrics().transcript("waiting");
            tracing::info!(conversation_id, attempt, next = %at, reason, trace_id, "the transcript is not ready; asking again later");
        }
    }
    Ok(())
}

/// Stores the turns of the conversation; those of a large transcript in a file.
async fn save(
    outside: &impl Outside,
    job: &Job,
    turns: Vec<Value>,
    now: Timestamp,
    span: &Span,
) -> Result<(), JobError> {
    let file = fetched_transcript(&job.conversation_id);
    let (turns, attachment) = fit_transcript(&file, turns);
    if let Some(attachment) = attachment {
        outside.calls().save_file(&file, &attachment).await?;
    }
    let settled = match value_to_bson(&turns) {
        Some(transcript) => Settled::Saved { transcript, at: now, attempts: job.attempt + 1 },
        None => Settled::Unavailable {
            reason: "it contains a value that MongoDB cannot store".to_owned(),
            at: now,
        },
    };
    let mut saving = outside.tracer().child("update agent_calls", Kind::Client, span);
    saving.set("db.system.name", || "mongodb");
    store(outside, job, settled).await
}

/// Asks ElevenLabs for the conversation.
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

/// Stores the outcome of `job`. The job is done only when no transcript of the call is pending.
async fn store(outside: &impl Outside, job: &Job, settled: Settled) -> Result<(), JobError> {
    let stored = match outside.calls().settle_transcript(&job.conversation_id, settled).await {
        Err(StoreError::Refused(why)) => {
            let reason = format!("it cannot be stored: {why}");
            let unavailable = Settled::Unavailable { reason, at: outside.now() };
            outside.calls().settle_transcript(&job.conversation_id, unavailable).await?
        }
        stored => stored?,
    };
    if stored {
        return Ok(());
    }
    match outside.calls().owing(&job.conversation_id).await? {
        Some(_) => Err(JobError::Moved),
        None => Ok(()),
    }
}
