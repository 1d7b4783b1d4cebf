//! Transcripts: owed by calls that held a conversation, fetched when ElevenLabs has made them.
//!
//! A job is a stream message that names a conversation. Waiting is the broker's business: a job
//! that has to wait is published again with a schedule and a higher attempt, then acknowledged. So
//! attempts survive restarts, and long waits block nobody.

mod broker_time;
mod decide;
mod job;

use std::{sync::Arc, time::Duration};

use aftercall_common::stream::{self, consumer};
use async_nats::jetstream::{AckKind, Message};
use jiff::Timestamp;
use mongodb::bson::Bson;
use rand::RngExt as _;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::job::owe;
use self::{
    broker_time::BrokerTime,
    decide::{Next, decide},
    job::Job,
};
use crate::{
    Context,
    clock::after,
    dead_letters::{self, Cause},
    elevenlabs::ElevenLabs,
    pull::{Batches, Source, settle},
    store::{CallView, Settled, StoreError, value_to_bson},
};

/// Conversations fetched at a time by one worker.
const PARALLEL: usize = 8;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// After the database or the broker did not take the outcome.
const REDELIVER_AFTER: Duration = Duration::from_secs(2);
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
        stream: stream::TRANSCRIPTS,
        consumer: consumer::TRANSCRIPTS,
        messages: PREFETCHED,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let broker_time = Arc::new(BrokerTime::default());
    let tasks = TaskTracker::new();
    tasks.spawn(look_after(context.clone(), stop.clone()));
    while api.gate.opened(&stop).await {
        let Some(messages) = batches.next(&stop).await else { break };
        for message in messages {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            let (context, api, broker_time) = (context.clone(), api.clone(), broker_time.clone());
            tasks.spawn(async move {
                handle(&context, &api, &broker_time, message).await;
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
    let owed = match context.store.owed(RESUMED).await {
        Ok(owed) => owed,
        Err(error) => return tracing::warn!(%error, "owed transcripts not looked up"),
    };
    for conversation in &owed {
        if let Err(error) = owe(&context.jetstream, conversation).await {
            return tracing::warn!(%error, "owed transcripts not resumed");
        }
    }
    if !owed.is_empty() {
        tracing::debug!(owed = owed.len(), "owed transcripts have their jobs");
    }
}

/// Does one job and settles its message.
async fn handle(context: &Context, api: &ElevenLabs, broker_time: &BrokerTime, message: Message) {
    let job = match Job::read(&message.payload) {
        Ok(job) => job,
        Err(detail) => {
            let cause = Cause { label: "invalid_job", detail };
            dead_letters::bury(context, consumer::TRANSCRIPTS, &message, &cause).await;
            return;
        }
    };
    match fetch(context, api, broker_time, &job).await {
        Ok(()) => settle(&message, AckKind::Ack).await,
        Err(error) => {
            let conversation_id = job.conversation_id.as_str();
            tracing::warn!(conversation_id, %error, "outcome of a transcript job not stored; trying again");
            settle(&message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
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
    context: &Context,
    api: &ElevenLabs,
    broker_time: &BrokerTime,
    job: &Job,
) -> Result<(), JobError> {
    let conversation_id = job.conversation_id.as_str();
    let call = context.store.find(None, Some(&job.conversation_id)).await?;
    let Some(call) = call.filter(CallView::owes_transcript) else {
        tracing::debug!(conversation_id, "transcript is no longer owed");
        return Ok(());
    };
    let answer = match api.gate.closed_until(Timestamp::now()) {
        Some(_) => None, // Closed since the job was pulled.
        None => Some(api.conversation(&job.conversation_id).await),
    };
    let now = Timestamp::now();
    let waits = decide::Waits {
        // Told by the call and not by the job: a job made anew does not start the wait anew.
        give_up_at: after(call.owed_since().unwrap_or(now), context.config.transcript_give_up_after),
        closed_until: api.gate.closed_until(now),
        jitter: rand::rng().random_range(0.0..1.0),
    };
    match decide(answer, job, &waits, now) {
        Next::Save(turns) => {
            let count = turns.len();
            let settled = match turns.iter().map(value_to_bson).collect::<Option<Vec<_>>>() {
                Some(turns) => Settled::Saved { transcript: Bson::Array(turns), at: now },
                None => {
                    Settled::Unavailable { reason: "it holds what MongoDB cannot store".to_owned(), at: now }
                }
            };
            store(context, job, settled).await?;
            context.metrics.transcript("saved");
            tracing::info!(conversation_id, turns = count, attempt = job.attempt, "transcript saved");
        }
        Next::GiveUp(reason) => {
            // The reason may hold ElevenLabs' own words, and those anything: it is in the document only.
            tracing::warn!(conversation_id, attempt = job.attempt, "transcript given up");
            store(context, job, Settled::Unavailable { reason, at: now }).await?;
            context.metrics.transcript("unavailable");
        }
        Next::Later { at, attempt, why } => {
            let job = Job { attempt, ..job.clone() };
            let due = broker_time.of(&context.jetstream, at).await;
            job::later(&context.jetstream, &job, due).await.map_err(JobError::Broker)?;
            context.metrics.transcript("waiting");
            tracing::info!(conversation_id, attempt, next = %at, why, "transcript is not ready");
        }
    }
    Ok(())
}

/// Stores the outcome of `job`, which is done only when the call owes nothing any more.
async fn store(context: &Context, job: &Job, settled: Settled) -> Result<(), JobError> {
    let stored = match context.store.settle_transcript(&job.conversation_id, settled).await {
        Err(StoreError::Refused(why)) => {
            let reason = format!("it cannot be stored: {why}");
            let unavailable = Settled::Unavailable { reason, at: Timestamp::now() };
            context.store.settle_transcript(&job.conversation_id, unavailable).await?
        }
        stored => stored?,
    };
    if stored {
        return Ok(());
    }
    let call = context.store.find(None, Some(&job.conversation_id)).await?;
    if call.is_some_and(|call| call.owes_transcript()) { Err(JobError::Moved) } else { Ok(()) }
}
