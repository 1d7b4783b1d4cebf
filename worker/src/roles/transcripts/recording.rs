//! Processes one recording job: asks ElevenLabs, streams the recording into the database, acknowledges.
//!
//! Invariants:
//! - A job is acknowledged only after its outcome, or the job that follows it, is stored.
//! - A call has one recording: a fetched one is erased once a webhook brings the recording.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;

use super::{
    error::JobError,
    policy::{self, Next, Schedule},
};
use crate::{
    Context,
    broker::{
        consumer::{acknowledge, hold},
        transcript_jobs::Job,
    },
    domain::time::after,
    elevenlabs::{ApiError, ElevenLabs},
    metrics::TranscriptOutcome,
    ports::{Ports as _, REDELIVER_AFTER},
    store::{RecordingState, StoreError, fetched_recording},
};

/// Delay of a job while other recordings occupy every slot.
const BUSY_DELAY: Duration = Duration::from_secs(5);

/// Processes `job` and acknowledges its `message`. Without a `slot` the job is scheduled again.
pub(super) async fn work(
    context: &Context,
    api: &ElevenLabs,
    job: &Job,
    message: &Message,
    slot: Option<SemaphorePermit<'_>>,
) {
    let processed = async {
        if slot.is_none() {
            let scheduled = context.schedule_job(job, after(Timestamp::now(), BUSY_DELAY)).await;
            return scheduled.map_err(JobError::Broker);
        }
        fetch(context, api, job).await
    };
    match hold(message, processed).await {
        Ok(()) => acknowledge(message, AckKind::Ack).await,
        Err(error) => {
            let conversation_id = job.conversation_id.as_str();
            tracing::warn!(conversation_id, %error, "the outcome of a recording job was not stored; trying again");
            acknowledge(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}

/// Fetches the recording of `job`, unless its call has one, and stores it, the reason for giving up, or the next
/// job.
async fn fetch(context: &Context, api: &ElevenLabs, job: &Job) -> Result<(), JobError> {
    let (store, id, file) = (&context.store, &job.conversation_id, fetched_recording(&job.conversation_id));
    let Some(call) = store.find(None, Some(id)).await? else {
        return Ok(store.erase_recording(&file).await?); // The call was erased.
    };
    if let Some(named) = call.recording_file() {
        if named != file {
            store.erase_recording(&file).await?;
        }
        if !call.is_recording_saved() {
            store.set_recording_state(id, RecordingState::Saved, Timestamp::now()).await?;
        }
        return Ok(());
    }
    let received = match api.gate.closed_until(Timestamp::now()) {
        Some(_) => Err(None),
        None => receive(context, api, job, &file).await?.map_err(Some),
    };
    let now = Timestamp::now();
    match received {
        Ok(bytes) => save(context, job, &file, bytes).await,
        Err(error) => {
            let schedule = Schedule {
                give_up_at: after(
                    call.recording_since().unwrap_or(now),
                    context.config.transcript_give_up_after,
                ),
                closed_until: api.gate.closed_until(now),
                jitter: context.random(),
            };
            conclude(context, job, policy::after_failure(error.as_ref(), job, &schedule, now), now).await
        }
    }
}

/// Streams the recording into `file`. Returns its size in bytes. The outer error is the database's, the inner one
/// ElevenLabs'.
async fn receive(
    context: &Context,
    api: &ElevenLabs,
    job: &Job,
    file: &str,
) -> Result<Result<u64, ApiError>, StoreError> {
    // An earlier attempt may have ended between the file and the document.
    if let Some(bytes) = context.store.recording_size(file).await? {
        return Ok(Ok(bytes));
    }
    let mut body = match api.recording(&job.conversation_id).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error)),
    };
    let (mut upload, mut bytes) = (context.store.begin_recording(file).await?, 0);
    loop {
        match body.piece().await {
            Ok(Some(piece)) => {
                bytes += piece.len() as u64;
                upload = upload.write(piece).await?;
            }
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    upload.finish().await?;
    Ok(Ok(bytes))
}

/// Makes the call name the fetched recording, unless a webhook has brought it meanwhile.
async fn save(context: &Context, job: &Job, file: &str, bytes: u64) -> Result<(), JobError> {
    let (store, id) = (&context.store, &job.conversation_id);
    if store.name_recording(id, file, bytes, Timestamp::now()).await? {
        context.metrics.recording(TranscriptOutcome::Saved);
        tracing::info!(conversation_id = id.as_str(), bytes, attempt = job.attempt, "recording saved");
        return Ok(());
    }
    match store.find(None, Some(id)).await? {
        Some(call) if call.recording_file().is_none() => Err(JobError::Moved),
        Some(call) if call.recording_file() == Some(file) => Ok(()), // Another worker was faster.
        _ => Ok(store.erase_recording(file).await?),
    }
}

/// Stores that the recording is given up, or the next job.
async fn conclude(context: &Context, job: &Job, next: Next, now: Timestamp) -> Result<(), JobError> {
    let (store, id) = (&context.store, &job.conversation_id);
    let conversation_id = id.as_str();
    match next {
        Next::GiveUp(reason) => {
            tracing::warn!(conversation_id, attempt = job.attempt, "recording given up");
            store.set_recording_state(id, RecordingState::Unavailable(reason), now).await?;
            context.metrics.recording(TranscriptOutcome::Unavailable);
        }
        Next::Retry { at, attempt, reason } => {
            store.set_recording_state(id, RecordingState::Pending, now).await?;
            let next = Job { attempt, ..job.clone() };
            context.schedule_job(&next, at).await.map_err(JobError::Broker)?;
            context.metrics.recording(TranscriptOutcome::Waiting);
            tracing::info!(conversation_id, attempt, next = %at, reason, "the recording is not ready; asking again later");
        }
        Next::Save(_) => {} // Only an answer with a conversation leads to this.
    }
    Ok(())
}
