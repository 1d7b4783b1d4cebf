//! Processes one job: fetches the conversation from ElevenLabs, stores its transcript or schedules the next try, and
//! acknowledges the message.
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

use super::{
    error::JobError,
    policy::{self, Next, decide},
};
use crate::{
    broker::{message::StreamMessage as _, transcript_jobs::Job},
    dead_letters::give_up,
    domain::{
        call::{CallPatch, size::fit_transcript},
        cause::Cause,
        reason::Reason,
        time::{after, between},
    },
    elevenlabs::{ApiError, Conversation},
    metrics::TranscriptOutcome,
    ports::{Ports, REDELIVER_AFTER, TranscriptApi},
    store::{
        self, Calls as _, PatchResult, StoreError, TranscriptResolution, fetched_transcript, value_to_bson,
    },
};

/// Processes one job and acknowledges its message. A message that is no job becomes a dead letter.
pub async fn work<O: Ports>(
    ports: &O,
    api: &impl TranscriptApi,
    give_up_after: Duration,
    message: &O::Message,
) {
    if message.delivered() > 1 {
        ports.metrics().redelivered(consumer::TRANSCRIPTS);
    }
    let job = match Job::read(&message.payload(), message.traceparent()) {
        Ok(job) => job,
        Err(detail) => {
            let cause = Cause { reason: Reason::InvalidJob, detail };
            return give_up(ports, consumer::TRANSCRIPTS, message, &cause).await;
        }
    };
    let mut span = ports.tracer().span("process TRANSCRIPTS", Kind::Consumer, job.trace.as_deref());
    span.set("messaging.system", || "nats");
    span.set("aftercall.attempt", || i64::from(job.attempt));
    match fetch(ports, api, give_up_after, &job, &span).await {
        Ok(()) => ports.acknowledge(message, AckKind::Ack).await,
        Err(error) => {
            let conversation_id = job.conversation_id.as_str();
            tracing::warn!(conversation_id, %error, "the outcome of a transcript job was not stored; trying again");
            span.fail("not_stored");
            ports.acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}

/// Fetches the conversation of `job`, and stores its transcript, the reason for giving up, or the next job.
/// Does nothing if no transcript is pending.
async fn fetch(
    ports: &impl Ports,
    api: &impl TranscriptApi,
    give_up_after: Duration,
    job: &Job,
    span: &Span,
) -> Result<(), JobError> {
    let conversation_id = job.conversation_id.as_str();
    let trace_id = job.trace.as_deref().and_then(trace::trace_id);
    let Some(pending) = ports.calls().pending_transcript(&job.conversation_id).await? else {
        tracing::debug!(conversation_id, "the transcript is no longer pending");
        return Ok(());
    };
    let answer = match api.closed_for() {
        Some(_) => None, // The API stopped accepting requests after the job was pulled.
        None => Some(ask(ports, api, job, span).await),
    };
    let now = ports.now();
    if let Some(Ok(conversation)) = &answer {
        store_event(ports, job, conversation, now).await?;
    }
    let schedule = policy::Schedule {
        // Counted from the time stored in the call, so that a restored job does not restart the wait.
        give_up_at: after(pending.since.unwrap_or(now), give_up_after),
        closed_until: api.closed_for().map(|wait| after(now, wait)),
        jitter: ports.random(),
    };
    let resolved = match decide(answer, job, &schedule, now) {
        Next::Save(turns) => save(ports, job, turns, now, span).await?,
        Next::GiveUp(reason) => {
            resolve(ports, job, TranscriptResolution::Unavailable { reason, at: now }).await?
        }
        Next::Retry { at, attempt, reason } => {
            let job = Job { attempt, ..job.clone() };
            ports.schedule_job(&job, at).await.map_err(JobError::Broker)?;
            ports.metrics().transcript(TranscriptOutcome::Waiting);
            tracing::info!(conversation_id, attempt, next = %at, reason, trace_id, "the transcript is not ready; asking again later");
            return Ok(());
        }
    };
    let attempt = job.attempt;
    match resolved {
        Resolved::Saved => {
            ports.metrics().transcript(TranscriptOutcome::Saved);
            if let Some(since) = pending.since {
                ports.metrics().transcript_delay(between(since, now));
            }
            tracing::info!(conversation_id, attempt, trace_id, "transcript saved");
        }
        Resolved::Unavailable => {
            ports.metrics().transcript(TranscriptOutcome::Unavailable);
            // The reason is not logged, because it can contain text of ElevenLabs with personal data.
            tracing::warn!(conversation_id, attempt, trace_id, "transcript given up");
        }
        Resolved::Already => tracing::debug!(conversation_id, "the transcript is no longer pending"),
    }
    Ok(())
}

/// How a transcript was resolved.
enum Resolved {
    /// It is saved.
    Saved,
    /// The call says why it has none.
    Unavailable,
    /// Another source had resolved it before.
    Already,
}

/// Stores the facts of a conversation that is over: status, outcome and metadata. Does nothing while it is in
/// progress. The turns are stored with the outcome of the job.
async fn store_event(
    ports: &impl Ports,
    job: &Job,
    conversation: &Conversation,
    now: Timestamp,
) -> Result<(), JobError> {
    let Some(event) = conversation.event(&job.conversation_id, now) else { return Ok(()) };
    if event.has_audio {
        ports
            .enqueue_recording(&job.conversation_id, job.trace.as_deref())
            .await
            .map_err(JobError::Broker)?;
    }
    let patch = CallPatch::split(event).0.without_transcript();
    for changed in store::apply(ports.calls(), &[patch]).await? {
        if let PatchResult::Refused { reason, detail } = changed {
            let conversation_id = job.conversation_id.as_str();
            let label = reason.label();
            tracing::warn!(conversation_id, label, detail, "the facts of a conversation cannot be stored");
        }
    }
    Ok(())
}

/// Stores the turns of the conversation. A large transcript is stored in a file.
async fn save(
    ports: &impl Ports,
    job: &Job,
    turns: Vec<Value>,
    now: Timestamp,
    span: &Span,
) -> Result<Resolved, JobError> {
    let file = fetched_transcript(&job.conversation_id);
    let (turns, attachment) = fit_transcript(&file, turns);
    if let Some(attachment) = attachment {
        match ports.calls().save_file(&file, &attachment).await {
            Err(StoreError::Refused(why)) => {
                let reason = format!("it cannot be stored: {why}");
                return resolve(ports, job, TranscriptResolution::Unavailable { reason, at: now }).await;
            }
            saved => saved?,
        }
    }
    let resolution = match value_to_bson(&turns) {
        Some(transcript) => TranscriptResolution::Saved { transcript, at: now, attempts: job.attempt + 1 },
        None => TranscriptResolution::Unavailable {
            reason: "it contains a value that MongoDB cannot store".to_owned(),
            at: now,
        },
    };
    let mut saving = ports.tracer().child("update agent_calls", Kind::Client, span);
    saving.set("db.system.name", || "mongodb");
    resolve(ports, job, resolution).await
}

/// Asks ElevenLabs for the conversation.
async fn ask(
    ports: &impl Ports,
    api: &impl TranscriptApi,
    job: &Job,
    span: &Span,
) -> Result<Conversation, ApiError> {
    let mut asking = ports.tracer().child("GET /v1/convai/conversations/{id}", Kind::Client, span);
    asking.set("http.request.method", || "GET");
    let answer = api.conversation(&job.conversation_id).await;
    if let Err(error) = &answer {
        asking.fail(error.label());
    }
    answer
}

/// Resolves the transcript of `job`. Fails with [`JobError::Moved`] if the document was merged into another one
/// meanwhile and the transcript is still pending.
async fn resolve(
    ports: &impl Ports,
    job: &Job,
    resolution: TranscriptResolution,
) -> Result<Resolved, JobError> {
    let mut is_saved = matches!(resolution, TranscriptResolution::Saved { .. });
    let stored = match ports.calls().resolve_transcript(&job.conversation_id, resolution).await {
        Err(StoreError::Refused(why)) => {
            is_saved = false;
            let reason = format!("it cannot be stored: {why}");
            let unavailable = TranscriptResolution::Unavailable { reason, at: ports.now() };
            ports.calls().resolve_transcript(&job.conversation_id, unavailable).await?
        }
        stored => stored?,
    };
    if stored {
        return Ok(if is_saved { Resolved::Saved } else { Resolved::Unavailable });
    }
    match ports.calls().pending_transcript(&job.conversation_id).await? {
        Some(_) => Err(JobError::Moved),
        None => Ok(Resolved::Already),
    }
}
