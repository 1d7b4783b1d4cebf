//! What the broker knows: webhooks per second, what waits, dead letters. Asked for every few seconds by
//! one task, however many look.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::streams::{self, consumer};
use async_nats::jetstream;
use jiff::Timestamp;

use crate::domain::time::between;

/// Pause between two looks.
pub const EVERY: Duration = Duration::from_secs(5);
/// Looks kept: a quarter of an hour.
const KEPT: usize = 180;
/// Longest one look takes.
const TIMEOUT: Duration = Duration::from_secs(3);

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Webhooks stored per second since the look before.
    pub per_second: f64,
    /// Webhooks stored and not yet in the database.
    pub waiting: u64,
    /// How long the oldest of them has waited.
    pub lag: Duration,
}

/// The looks of the last quarter of an hour.
#[derive(Default)]
pub struct Samples(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    samples: VecDeque<Sample>,
    last: Option<(Instant, u64)>,
    letters: Option<u64>,
}

impl Samples {
    /// The looks, the latest last.
    pub fn all(&self) -> Vec<Sample> {
        self.lock().samples.iter().copied().collect()
    }

    /// Dead letters, as of the last look.
    pub fn letters(&self) -> Option<u64> {
        self.lock().letters
    }

    /// Counts dead letters; their number where it is another than before.
    pub async fn look_for_letters(&self, context: &jetstream::Context) -> Option<u64> {
        let letters = tokio::time::timeout(TIMEOUT, count(context, streams::DEAD_LETTERS)).await.ok()??.0;
        let before = self.lock().letters.replace(letters);
        (before != Some(letters)).then_some(letters)
    }

    /// Takes a look. Nothing is kept of one that fails.
    pub async fn look(&self, context: &jetstream::Context) {
        let Ok(Some((sequence, waiting, lag))) = tokio::time::timeout(TIMEOUT, ask(context)).await else {
            self.lock().last = None;
            return;
        };
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some((at, before)) = inner.last.replace((now, sequence)) {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "webhooks of a few seconds")]
            let per_second = sequence.saturating_sub(before) as f64 / seconds;
            if inner.samples.len() == KEPT {
                inner.samples.pop_front();
            }
            inner.samples.push_back(Sample { per_second, waiting, lag });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages of a stream, and the last of their sequences.
async fn count(context: &jetstream::Context, stream: &str) -> Option<(u64, u64)> {
    let stream = context.get_stream(stream).await.ok()?;
    let state = &stream.cached_info().state;
    Some((state.messages, state.last_sequence))
}

/// The last sequence of the webhooks, how many of them wait, and for how long.
async fn ask(context: &jetstream::Context) -> Option<(u64, u64, Duration)> {
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
