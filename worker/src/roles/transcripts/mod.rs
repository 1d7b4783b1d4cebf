//! Transcripts: owed by calls that held a conversation, fetched when ElevenLabs has made them.
//!
//! A job is a stream message that names a conversation. Waiting is the broker's business: a job
//! that has to wait is published again with a schedule and a higher attempt, then acknowledged. So
//! attempts survive restarts, and long waits block nobody.

mod policy;
mod process;

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::{self, consumer};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::process::work;
pub use crate::broker::{
    time::BrokerTime,
    transcript_jobs::{Job, later, owe, waiting},
};
use crate::{
    Context,
    broker::consumer::{Batches, Pull as _, Source},
    elevenlabs::ElevenLabs,
};

/// Conversations fetched at a time by one worker.
const PARALLEL: usize = 8;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Jobs pulled ahead. Few: the broker gives away again what is not settled within its `ack_wait`, and
/// a conversation may take half of that.
const PREFETCHED: usize = PARALLEL / 2;
/// How often owed transcripts are looked after.
const LOOK_AFTER: Duration = Duration::from_mins(10);
/// Most jobs published anew at a time.
const RESUMED: i64 = 10_000;

/// Runs the role until `stop`.
pub async fn run(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    let source = Source {
        stream: streams::TRANSCRIPTS,
        consumer: consumer::TRANSCRIPTS,
        messages: PREFETCHED,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let tasks = TaskTracker::new();
    tasks.spawn(look_after(context.clone(), stop.clone()));
    while api.gate.opened(&stop).await {
        let Some(messages) = batches.next(&stop).await else { break };
        for message in messages {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            let (context, api) = (context.clone(), api.clone());
            tasks.spawn(async move {
                work(&*context, &api, context.config.transcript_give_up_after, &message).await;
                drop(slot);
            });
        }
    }
    batches.release(Vec::new()).await;
    tasks.close();
    tasks.wait().await;
}

/// Now and then makes up for jobs that got lost with the broker's disk, and gives up what cannot be
/// asked for.
async fn look_after(context: Arc<Context>, stop: CancellationToken) {
    loop {
        resume(&context).await;
        let now = Timestamp::now();
        let before = now.checked_sub(context.config.transcript_give_up_after).unwrap_or(Timestamp::MIN);
        match context.store.give_up_unknown(before, now).await {
            Ok(0) => {}
            Ok(calls) => {
                tracing::warn!(calls, "transcripts given up: their conversations never became known");
            }
            Err(error) => tracing::warn!(%error, "owed transcripts not looked after"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_AFTER)).await.is_none() {
            return;
        }
    }
}

/// Publishes the jobs of calls that are owed a transcript; the broker drops those it still has.
async fn resume(context: &Context) {
    let owed = match context.store.pending_transcripts(RESUMED).await {
        Ok(owed) => owed,
        Err(error) => return tracing::warn!(%error, "owed transcripts not looked up"),
    };
    for conversation in &owed {
        if let Err(error) = owe(&context.jetstream, conversation, None).await {
            return tracing::warn!(%error, "owed transcripts not resumed");
        }
    }
    if !owed.is_empty() {
        tracing::debug!(owed = owed.len(), "owed transcripts have their jobs");
    }
}
