//! Samples of the broker's state: webhooks per second, waiting webhooks, dead letters.
//!
//! One task samples at intervals, so the load on the broker does not depend on the number of viewers.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams::{self, consumer};
use async_nats::jetstream;
use jiff::Timestamp;

use crate::domain::time::between;

/// Interval between two samples.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Number of samples that are kept, which is a quarter of an hour.
const MAX_SAMPLES: usize = 180;
/// Longest time for one sample.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The broker's state at one time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Webhooks stored per second since the previous sample.
    pub per_second: f64,
    /// Webhooks that are stored and not yet in the database.
    pub waiting: u64,
    /// How long the oldest of these webhooks has waited.
    pub lag: Duration,
}

/// The samples of the last quarter of an hour, and the number of dead letters.
#[derive(Default)]
pub struct BrokerSamples(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    samples: VecDeque<Sample>,
    /// When the latest sample was taken, and the last sequence of the webhooks then.
    last: Option<(Instant, u64)>,
    dead_letters: Option<u64>,
}

impl BrokerSamples {
    /// The samples, the latest last.
    pub fn all(&self) -> Vec<Sample> {
        self.lock().samples.iter().copied().collect()
    }

    /// Number of dead letters at the latest count. `None` before the first count.
    pub fn dead_letters(&self) -> Option<u64> {
        self.lock().dead_letters
    }

    /// Counts the dead letters. Returns the number if it has changed.
    pub async fn update_dead_letters(&self, context: &jetstream::Context) -> Option<u64> {
        let count = tokio::time::timeout(TIMEOUT, count(context, streams::DEAD_LETTERS)).await.ok()??;
        let before = self.lock().dead_letters.replace(count);
        (before != Some(count)).then_some(count)
    }

    /// Takes a sample. If the broker does not answer, this sample and the next one are left out, because a
    /// rate needs two consecutive answers.
    pub async fn take_sample(&self, context: &jetstream::Context) {
        let Ok(Some((sequence, waiting, lag))) = tokio::time::timeout(TIMEOUT, query(context)).await else {
            self.lock().last = None;
            return;
        };
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some((at, before)) = inner.last.replace((now, sequence)) {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "webhooks of a few seconds")]
            let per_second = sequence.saturating_sub(before) as f64 / seconds;
            if inner.samples.len() == MAX_SAMPLES {
                inner.samples.pop_front();
            }
            inner.samples.push_back(Sample { per_second, waiting, lag });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of messages in `stream`.
async fn count(context: &jetstream::Context, stream: &str) -> Option<u64> {
    let stream = context.get_stream(stream).await.ok()?;
    Some(stream.cached_info().state.messages)
}

/// The last sequence of the webhooks, how many of them wait, and how long the oldest has waited.
async fn query(context: &jetstream::Context) -> Option<(u64, u64, Duration)> {
    let webhooks = context.get_stream(streams::WEBHOOKS).await.ok()?;
    let status = webhooks.consumer_info(consumer::STATUS).await.ok()?;
    let waiting = status.num_pending + status.num_ack_pending as u64;
    let mut lag = Duration::ZERO;
    if waiting > 0 {
        let oldest =
            webhooks.direct_get_next_for_subject("webhooks.>", Some(status.ack_floor.stream_sequence + 1));
        if let Ok(oldest) = oldest.await {
            let stored_at = Timestamp::from_nanosecond(oldest.time.unix_timestamp_nanos()).ok()?;
            lag = between(stored_at, Timestamp::now());
        }
    }
    Some((webhooks.cached_info().state.last_sequence, waiting, lag))
}
