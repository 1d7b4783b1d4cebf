//! The role `transcripts`: fetches the transcripts of conversations once ElevenLabs has created them, and with
//! `RECORDINGS=fetch` their recordings.
//!
//! A job is a message of the stream `TRANSCRIPTS` that names a conversation. A job that has to wait is
//! published again, with a schedule and a higher attempt, and then acknowledged. So the broker does the
//! waiting: attempts survive restarts, and long waits occupy no worker.

mod error;
mod policy;
mod process;
mod recording;

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::{self, consumer, header};
use async_nats::{
    HeaderValue,
    jetstream::{self, consumer::PullConsumer},
};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::process::work;
pub use crate::broker::{
    time::BrokerTime,
    transcript_jobs::{Job, JobKind, enqueue_job, schedule_job, scheduled_job, waiting_conversations},
};
use crate::{
    Context,
    broker::consumer::{Batches, Pull as _, Source},
    config::Recordings,
    elevenlabs::ElevenLabs,
};

/// Conversations that one worker fetches at the same time.
const MAX_PARALLEL: usize = 8;
/// At most so many of them fetch recordings. A recording can take long, and transcripts must not wait for it.
const MAX_RECORDINGS: usize = MAX_PARALLEL / 2;
/// Most bytes of jobs pulled at a time.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Jobs pulled ahead. Only a few, because the broker delivers a job again if it is not acknowledged within
/// `ack_wait`, and one conversation may take half of that time.
const PREFETCHED: usize = MAX_PARALLEL / 2;
/// Interval at which jobs are restored and calls without a conversation are given up.
const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(10);
/// Most jobs that are restored at a time.
const MAX_RESTORED: i64 = 10_000;

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let source = Source {
        stream: streams::TRANSCRIPTS,
        consumer: consumer::TRANSCRIPTS.to_owned(),
        config: None,
        messages: PREFETCHED,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let slots = Arc::new(Semaphore::new(MAX_PARALLEL));
    let recordings = Arc::new(Semaphore::new(MAX_RECORDINGS));
    let tasks = TaskTracker::new();
    tasks.spawn(maintain(context.clone(), stop.clone()));
    while api.gate.wait_until_open(&stop).await {
        let Some(messages) = batches.next(&stop).await else { break };
        for message in messages {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            let (context, api, recordings) = (context.clone(), api.clone(), recordings.clone());
            tasks.spawn(async move {
                let trace = message.headers.as_ref().and_then(|headers| headers.get(header::TRACEPARENT));
                match Job::read(&message.payload, trace.map(HeaderValue::as_str)) {
                    Ok(job) if job.kind == JobKind::Recording => {
                        recording::work(&context, &api, &job, &message, recordings.try_acquire().ok()).await;
                    }
                    _ => work(&*context, &api, context.config.transcript_give_up_after, &message).await,
                }
                drop(slot);
            });
        }
    }
    batches.release(Vec::new()).await;
    tasks.close();
    tasks.wait().await;
}

/// Restores jobs that the broker lost, and gives up transcripts of calls whose conversation never became known. Other
/// recordings than those of [`Store::pending_recordings`](crate::store::Store::pending_recordings) are not restored.
async fn maintain(context: Arc<Context>, stop: CancellationToken) {
    loop {
        restore_jobs(&context, JobKind::Transcript).await;
        if context.config.recordings == Recordings::Fetch {
            restore_jobs(&context, JobKind::Recording).await;
        }
        let now = Timestamp::now();
        let before = now.checked_sub(context.config.transcript_give_up_after).unwrap_or(Timestamp::MIN);
        match context.store.give_up_unknown(before, now).await {
            Ok(0) => {}
            Ok(calls) => {
                tracing::warn!(
                    calls,
                    "transcripts of calls were given up because their conversations never became known"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "transcripts without a conversation were not given up: MongoDB did not answer");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(MAINTENANCE_INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// The number of jobs that are due or in work.
async fn due_jobs(jetstream: &jetstream::Context) -> Result<u64, async_nats::Error> {
    let consumer: PullConsumer =
        jetstream.get_consumer_from_stream(consumer::TRANSCRIPTS, streams::TRANSCRIPTS).await?;
    let info = consumer.cached_info();
    Ok(info.num_pending + info.num_ack_pending as u64)
}

/// Publishes the jobs of pending transcripts or recordings that have none. A job that is due now may be published again: what
/// is not pending any more is not fetched. Recordings are restored only while no job is due, because they are large.
async fn restore_jobs(context: &Context, kind: JobKind) {
    let pending = match kind {
        JobKind::Transcript => context.store.pending_transcripts(MAX_RESTORED).await,
        JobKind::Recording => context.store.pending_recordings(MAX_RESTORED).await,
    };
    let pending = match pending {
        Ok(pending) => pending,
        Err(error) => {
            return tracing::warn!(?kind, %error, "lost jobs were not restored: MongoDB did not answer");
        }
    };
    let restored = async {
        let is_idle = due_jobs(&context.jetstream).await? == 0;
        if kind == JobKind::Recording && !is_idle {
            return Ok(());
        }
        // While jobs are due, the broker refuses those that it has. Otherwise it has none of them, but may know their ids.
        let waiting = waiting_conversations(&context.jetstream, kind).await?;
        for conversation in pending.iter().filter(|pending| !waiting.contains(pending.as_str())) {
            enqueue_job(&context.jetstream, kind, conversation, None, is_idle).await?;
        }
        Ok::<_, async_nats::Error>(())
    };
    if let Err(error) = restored.await {
        tracing::warn!(?kind, %error, "lost jobs were not restored: NATS did not answer");
    }
}
