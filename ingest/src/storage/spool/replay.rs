//! Publishes the webhooks of the spool when the broker is back, in the order of their arrival and with the
//! same ids.
//!
//! Invariant: a webhook is removed from the spool only after the broker has acknowledged it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aftercall_common::contract::streams::header as names;
use futures_util::future::join_all;
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Spool,
    journal::{Record, RecordRange},
};
use crate::{
    config::SpoolMode,
    storage::{Storage, publisher::PublishError},
};

/// Most webhooks that are published in one step: as many as fit into one batch.
const MAX_WEBHOOKS: usize = 1000;
/// Most bytes of these webhooks. New webhooks are published between the steps.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Most webhooks that are read at a time. New webhooks are written between the reads.
const MAX_READ: usize = 128;
/// Interval at which an idle replay checks for webhooks and for the broker.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest time until a webhook that the broker has not stored is published again.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Pause between two steps, as a multiple of the time that the first one took, and at most. Meanwhile webhooks gather, so
/// that steps are large: a batch costs the broker milliseconds whatever is in it. A webhook that arrives later than this
/// after a step is published at once.
const GATHERING: (u32, Duration) = (3, Duration::from_millis(25));

/// Publishes the webhooks of `spool` whenever the broker can be reached, until `stop`. `oldest` shows when the oldest of
/// them was received, in Unix seconds; 0 if there is none.
pub async fn replay(storage: Arc<Storage>, spool: Arc<Spool>, oldest: Gauge, stop: CancellationToken) {
    stop.run_until_cancelled(replay_forever(&storage, &spool, &oldest)).await;
}

/// Publishes in steps, from the oldest webhook to the latest. A webhook that the broker refuses stays, and is published
/// again later, when the steps have reached the latest webhook.
async fn replay_forever(storage: &Storage, spool: &Spool, oldest: &Gauge) {
    let (mut start, mut retries, mut next_step) = (0, Retries::default(), Instant::now());
    loop {
        if spool.webhooks() == 0 {
            (start, retries) = (0, Retries::default());
            oldest.set(0);
            spool.appended_until(Instant::now() + POLL_INTERVAL).await;
            continue;
        }
        if !storage.can_publish() {
            if oldest.get() == 0 {
                oldest.set(received_at(&spool.read(0, 1, 0).await));
            }
            start = 0;
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        gather(spool, next_step).await;
        let began = Instant::now();
        let (records, is_end) = read_step(spool, storage.max_message_body(), start).await;
        if is_end && retries.are_due(began) {
            start = 0;
            continue;
        }
        let Some(last) = records.last() else {
            spool.appended_until(retries.due(began)).await;
            continue;
        };
        if start == 0 || retries.due.is_none() {
            oldest.set(received_at(&records)); // Everything before them is stored.
        }
        let next = last.range.end;
        let step = publish(storage, records).await;
        let is_removed = remove(spool, step.stored).await;
        if step.failed > 0 || !is_removed {
            retries.failed(Instant::now());
        }
        if step.is_interrupted {
            start = 0;
            tokio::time::sleep_until(retries.due(began).into()).await;
            retries.are_due(Instant::now());
        } else {
            start = next;
        }
        next_step = Instant::now() + (began.elapsed() * GATHERING.0).min(GATHERING.1);
    }
}

/// Removes webhooks that the broker has stored. Returns false if the disk fails. They are then published once more, and
/// the broker drops the duplicates.
async fn remove(spool: &Spool, stored: Vec<RecordRange>) -> bool {
    let webhooks = stored.len();
    if webhooks == 0 {
        return true;
    }
    let is_removed = spool.remove(stored).await.is_ok();
    if is_removed {
        spool.metrics.spool_replayed.inc_by(webhooks as u64);
        let left = spool.webhooks();
        match spool.mode() {
            SpoolMode::Fallback => {
                tracing::info!(webhooks, left, "webhooks of the spool are stored by the broker");
            }
            SpoolMode::First => {
                tracing::debug!(webhooks, left, "webhooks of the spool are stored by the broker");
            }
        }
    }
    is_removed
}

/// When webhooks that the broker has not stored are published again.
#[derive(Debug, Default)]
struct Retries {
    due: Option<Instant>,
    delay: Option<Duration>,
}

impl Retries {
    /// Notes a failure.
    fn failed(&mut self, now: Instant) {
        if self.due.is_none() {
            let delay = self.delay.map_or(RETRY_DELAY.0, |delay| (delay * 2).min(RETRY_DELAY.1));
            let jitter = rand::rng().random_range(0.5..=1.0);
            (self.due, self.delay) = (Some(now + delay.mul_f64(jitter)), Some(delay));
        }
    }

    /// Whether it is time to publish from the oldest webhook on.
    fn are_due(&mut self, now: Instant) -> bool {
        let is_time = self.due.is_some_and(|due| due <= now);
        if is_time {
            self.due = None;
        }
        is_time
    }

    /// The next time. Without a failure: soon after `now`, because the disk has not answered.
    fn due(&mut self, now: Instant) -> Instant {
        *self.due.get_or_insert(now + RETRY_DELAY.0)
    }
}

/// Waits until `next`, or until the spool holds as many webhooks as fit into a step.
async fn gather(spool: &Spool, next: Instant) {
    while spool.webhooks() < MAX_WEBHOOKS as u64 && Instant::now() < next {
        spool.appended_until(next).await;
    }
}

/// The webhooks of the step that begins at `start`. A body of more than `large` bytes is stored in the object store, which
/// may take seconds, so it has a step of its own. Returns also whether the step reaches the latest webhook.
async fn read_step(spool: &Spool, large: usize, start: u64) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let (mut next, mut bytes) = (start, 0);
    while records.len() + MAX_READ <= MAX_WEBHOOKS && bytes < MAX_BYTES {
        let read = spool.read(next, MAX_READ, MAX_BYTES - bytes).await;
        let is_last = read.is_empty() || read.len() < MAX_READ && bytes < MAX_BYTES / 2;
        for record in read {
            let length = record.webhook.body.len();
            if length > large && !records.is_empty() {
                return (records, false);
            }
            next = record.range.end;
            bytes += length;
            records.push(record);
            if length > large {
                return (records, false);
            }
        }
        if is_last {
            return (records, true);
        }
    }
    (records, false)
}

/// When the first of `records` was received, in Unix seconds; 0 if there is none.
fn received_at(records: &[Record]) -> i64 {
    let header = records.first().and_then(|record| record.webhook.headers.get(names::RECEIVED_AT));
    let time = header.and_then(|time| time.as_str().parse::<Timestamp>().ok());
    time.map_or(0, Timestamp::as_second)
}

/// The result of a step.
#[derive(Debug, Default)]
struct Step {
    /// The webhooks that the broker has stored.
    stored: Vec<RecordRange>,
    /// The number of other webhooks.
    failed: usize,
    /// Whether the broker has stored none of them, and did not answer for one. The next ones would fail too.
    is_interrupted: bool,
}

/// Publishes `records` together.
async fn publish(storage: &Storage, records: Vec<Record>) -> Step {
    let published = records.into_iter().map(async |record| {
        let result = storage.store_in_stream(&record.webhook).await;
        (record.range, result)
    });
    let mut step = Step::default();
    for (range, result) in join_all(published).await {
        match result {
            Ok(_) => step.stored.push(range),
            Err(error) => {
                tracing::debug!(reason = error.label(), "the broker has not stored a webhook of the spool");
                step.failed += 1;
                step.is_interrupted |= match error {
                    PublishError::Refused(_) | PublishError::BodyNotStored | PublishError::Garbled => false,
                    PublishError::QueueFull
                    | PublishError::Disconnected
                    | PublishError::NoStream
                    | PublishError::Expired
                    | PublishError::TimedOut
                    | PublishError::ConnectionLost
                    | PublishError::Stopping => true,
                };
            }
        }
    }
    step.is_interrupted &= step.stored.is_empty();
    step
}
