//! Processes one recording job: asks ElevenLabs, streams the recording into the database, acknowledges.
//!
//! Invariants:
//! - A job is acknowledged only after its outcome, or the job that follows it, is stored.
//! - A call has one recording: a fetched one is erased once a webhook brings the recording.
//! - Of several jobs for one recording, one at a time writes its file.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use jiff::Timestamp;
use tokio::{sync::SemaphorePermit, time::Instant};

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
    domain::{event::ConversationId, time::after},
    elevenlabs::{ApiError, ElevenLabs},
    metrics::TranscriptOutcome,
    ports::{Ports as _, REDELIVER_AFTER},
    store::{RecordingState, StoreError, fetched_recording},
};

/// Delay of a job while other recordings occupy every slot, or another job writes the same recording.
const BUSY_DELAY: Duration = Duration::from_secs(5);
/// Time for which a job may write the file, unless it extends the time.
const WRITE_TIME: Duration = Duration::from_mins(2);

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
            return later(context, job).await;
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

/// Schedules `job` again, because it cannot be processed now.
async fn later(context: &Context, job: &Job) -> Result<(), JobError> {
    let scheduled = context.schedule_job(job, after(Timestamp::now(), BUSY_DELAY)).await;
    scheduled.map_err(JobError::Broker)
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
    let received = if api.gate.closed_for().is_some() {
        Err(None)
    } else {
        let writer = Writer { context, conversation: id, id: format!("{:016x}", rand::random::<u64>()) };
        if !writer.claim().await? {
            return later(context, job).await;
        }
        let received = receive(&writer, api, &file).await;
        store.release_recording(id, &writer.id).await?;
        received?.map_err(Some)
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
                closed_until: api.gate.closed_for().map(|wait| after(now, wait)),
                jitter: context.random(),
            };
            conclude(context, job, policy::after_failure(error.as_ref(), job, &schedule, now), now).await
        }
    }
}

/// A job that may write the recording of a conversation.
struct Writer<'a> {
    context: &'a Context,
    conversation: &'a ConversationId,
    /// A random word, by which the document names the writer.
    id: String,
}

impl Writer<'_> {
    /// Takes or extends the right to write. Returns `false` if another job has it.
    async fn claim(&self) -> Result<bool, StoreError> {
        let (store, now) = (&self.context.store, Timestamp::now());
        store.claim_recording(self.conversation, &self.id, now, WRITE_TIME).await
    }
}

/// Streams the recording into `file`. Returns its size in bytes. The outer error says that it was not stored, the inner one
/// that ElevenLabs did not send it.
async fn receive(
    writer: &Writer<'_>,
    api: &ElevenLabs,
    file: &str,
) -> Result<Result<u64, ApiError>, JobError> {
    let store = &writer.context.store;
    // An earlier attempt may have ended between the file and the document.
    if let Some(bytes) = store.recording_size(file).await? {
        return Ok(Ok(bytes));
    }
    let mut body = match api.recording(writer.conversation).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error)),
    };
    let (mut upload, mut bytes) = (store.begin_recording(file).await?, 0);
    let mut claimed_at = Instant::now();
    loop {
        if claimed_at.elapsed() > WRITE_TIME / 4 {
            claimed_at = Instant::now();
            if !writer.claim().await? {
                return Err(JobError::Superseded);
            }
        }
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
