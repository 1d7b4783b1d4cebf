//! Samples of the broker's state: webhooks per second, the latest webhooks, waiting webhooks, dead letters.
//!
//! One task samples at intervals, so the load on the broker does not depend on the number of viewers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::contract::{
    provider::Provider,
    streams::{self, consumer, header},
};
use async_nats::jetstream::{
    self,
    stream::{DirectGetErrorKind, Stream},
};
use jiff::Timestamp;

use crate::{broker::time::timestamp, domain::time::between};

/// Interval between two samples.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Number of samples that are kept, which is a quarter of an hour.
const MAX_SAMPLES: usize = 180;
/// Longest time for one sample.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The broker's state at one time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Webhooks stored since the previous sample.
    pub stored: u64,
    /// The same per second.
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
    latest: HashMap<Provider, Timestamp>,
    dead_letters: Option<u64>,
}

impl BrokerSamples {
    /// The samples, the latest last.
    pub fn all(&self) -> Vec<Sample> {
        self.lock().samples.iter().copied().collect()
    }

    /// When the latest webhook of each provider came. Without those of which none is stored.
    pub fn latest(&self) -> Vec<(Provider, Timestamp)> {
        let inner = self.lock();
        Provider::ALL.iter().filter_map(|provider| Some((*provider, *inner.latest.get(provider)?))).collect()
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
        let before = self.lock().last.map(|(_, sequence)| sequence);
        let Ok(Some(state)) = tokio::time::timeout(TIMEOUT, query(context, before)).await else {
            self.lock().last = None;
            return;
        };
        let State { sequence, waiting, lag, latest } = state;
        let now = Instant::now();
        let mut inner = self.lock();
        for (provider, at) in latest.unwrap_or_default() {
            // A message that was sent again is older than the latest webhook.
            let known = inner.latest.entry(provider).or_insert(at);
            *known = at.max(*known);
        }
        if let Some((at, before)) = inner.last.replace((now, sequence)) {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            let stored = sequence.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "webhooks of a few seconds")]
            let per_second = stored as f64 / seconds;
            if inner.samples.len() == MAX_SAMPLES {
                inner.samples.pop_front();
            }
            inner.samples.push_back(Sample { stored, per_second, waiting, lag });
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

/// What the broker says about the webhooks.
struct State {
    /// The last sequence.
    sequence: u64,
    waiting: u64,
    lag: Duration,
    /// `None`: no webhook was stored since the last sample.
    latest: Option<Vec<(Provider, Timestamp)>>,
}

/// Asks the broker. `before`: the last sequence of the last sample.
async fn query(context: &jetstream::Context, before: Option<u64>) -> Option<State> {
    let webhooks = context.get_stream(streams::WEBHOOKS).await.ok()?;
    let status = webhooks.consumer_info(consumer::STATUS).await.ok()?;
    let waiting = status.num_pending + status.num_ack_pending as u64;
    let mut lag = Duration::ZERO;
    if waiting > 0 {
        let oldest =
            webhooks.direct_get_next_for_subject("webhooks.>", Some(status.ack_floor.stream_sequence + 1));
        if let Ok(oldest) = oldest.await {
            let stored_at = timestamp(oldest.time)?;
            lag = between(stored_at, Timestamp::now());
        }
    }
    let sequence = webhooks.cached_info().state.last_sequence;
    let latest = if before == Some(sequence) { None } else { Some(latest(&webhooks).await?) };
    Some(State { sequence, waiting, lag, latest })
}

/// When the gateway received the latest message of each provider. A message that was sent again keeps this time. `None`:
/// the broker does not answer.
async fn latest(webhooks: &Stream) -> Option<Vec<(Provider, Timestamp)>> {
    let mut latest = Vec::new();
    for provider in Provider::ALL {
        match webhooks.direct_get_last_for_subject(provider.subject()).await {
            Ok(message) => {
                let received_at =
                    message.headers.get(header::RECEIVED_AT).and_then(|at| at.as_str().parse().ok());
                latest.push((*provider, received_at.or_else(|| timestamp(message.time))?));
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
            Err(_error) => return None,
        }
    }
    Some(latest)
}
