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
    journal::{Place, Record},
};
use crate::{config::SpoolMode, storage::Storage};

/// Most webhooks that are published in one step: as many as fit into one batch.
const MAX_WEBHOOKS: usize = 1000;
/// Most bytes of these webhooks. New webhooks are published between the steps.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Interval at which an idle replay checks for webhooks and for the broker.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest pause after the broker has not stored a webhook.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Pause between two steps, as a multiple of the time that the first one took, and at most. Meanwhile webhooks gather, so
/// that steps are large: a batch costs the broker milliseconds whatever is in it. A webhook that arrives later than this
/// after a step is published at once.
const GATHERING: (u32, Duration) = (3, Duration::from_millis(25));
/// Longest time in which later webhooks are published while an earlier one waits for its next attempt.
const MAX_ROUND: Duration = Duration::from_secs(5);

/// Publishes the webhooks of `spool` whenever the broker can be reached, until `stop`. `oldest` shows when the oldest of
/// them was received, in Unix seconds; 0 if there is none.
pub async fn replay(storage: Arc<Storage>, spool: Arc<Spool>, oldest: Gauge, stop: CancellationToken) {
    stop.run_until_cancelled(replay_forever(&storage, &spool, &oldest)).await;
}

/// Publishes in rounds. A round visits each webhook at most once; a webhook that the broker refuses stays for the next
/// round and delays no other.
async fn replay_forever(storage: &Storage, spool: &Spool, oldest: &Gauge) {
    let (mut delay, mut next) = (RETRY_DELAY.0, Instant::now());
    loop {
        if spool.webhooks() == 0 {
            oldest.set(0);
            let _nothing_yet = tokio::time::timeout(POLL_INTERVAL, spool.state.appended.notified()).await;
        } else if !storage.can_publish() {
            if oldest.get() == 0 {
                oldest.set(received_at(&spool.read(0, 1, 0).await));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        } else {
            gather(spool, next).await;
            let began = Instant::now();
            if round(storage, spool, oldest).await == RoundEnd::AllStored {
                delay = RETRY_DELAY.0;
            } else {
                let jitter = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep(delay.mul_f64(jitter)).await;
                delay = (delay * 2).min(RETRY_DELAY.1);
            }
            next = Instant::now() + (began.elapsed() * GATHERING.0).min(GATHERING.1);
        }
    }
}

/// Waits until `next`, or until the spool holds as many webhooks as fit into a step.
async fn gather(spool: &Spool, next: Instant) {
    while spool.webhooks() < MAX_WEBHOOKS as u64 && Instant::now() < next {
        let _time_is_up = tokio::time::timeout_at(next.into(), spool.state.appended.notified()).await;
    }
}

/// When the first of `records` was received, in Unix seconds; 0 if there is none.
fn received_at(records: &[Record]) -> i64 {
    let header = records.first().and_then(|record| record.webhook.headers.get(names::RECEIVED_AT));
    let time = header.and_then(|time| time.as_str().parse::<Timestamp>().ok());
    time.map_or(0, Timestamp::as_second)
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundEnd {
    /// The broker has stored all webhooks that were read.
    AllStored,
    /// The broker or the disk has failed for at least one webhook.
    SomeLeft,
}

/// Publishes from the oldest webhook on, until a step has stored all its webhooks, or for [`MAX_ROUND`].
async fn round(storage: &Storage, spool: &Spool, oldest: &Gauge) -> RoundEnd {
    let (began, mut start, mut has_failed) = (Instant::now(), 0, false);
    loop {
        let records = spool.read(start, MAX_WEBHOOKS, MAX_BYTES).await;
        let Some(last) = records.last() else {
            // Nothing was read although the spool is not empty: the disk fails, or the end is reached.
            return if start == 0 || has_failed { RoundEnd::SomeLeft } else { RoundEnd::AllStored };
        };
        if start == 0 {
            oldest.set(received_at(&records));
        }
        start = last.place.end;
        let (stored, failed) = publish(storage, records).await;
        has_failed |= failed > 0;
        if stored.is_empty() {
            return RoundEnd::SomeLeft;
        }
        let count = stored.len();
        match spool.remove(stored).await {
            Ok(()) => {
                spool.metrics.spool_replayed.inc_by(count as u64);
                log(spool, count);
            }
            // They are published once more, and the broker drops the duplicates.
            Err(_) => has_failed = true,
        }
        if !has_failed {
            return RoundEnd::AllStored;
        }
        if began.elapsed() > MAX_ROUND {
            return RoundEnd::SomeLeft;
        }
    }
}

fn log(spool: &Spool, webhooks: usize) {
    let left = spool.webhooks();
    match spool.mode() {
        SpoolMode::Fallback => {
            tracing::info!(webhooks, left, "webhooks of the spool are stored by the broker");
        }
        SpoolMode::First => tracing::debug!(webhooks, left, "webhooks of the spool are stored by the broker"),
    }
}

/// Publishes `records` together. Returns the places of the stored webhooks, and the number of failures.
async fn publish(storage: &Storage, records: Vec<Record>) -> (Vec<Place>, usize) {
    let published = records.into_iter().map(async |record| {
        let result = storage.store_in_stream(&record.webhook).await;
        (record.place, result)
    });
    let (mut stored, mut failed) = (Vec::new(), 0);
    for (place, result) in join_all(published).await {
        match result {
            Ok(_) => stored.push(place),
            Err(error) => {
                tracing::debug!(reason = error.label(), "the broker has not stored a webhook of the spool");
                failed += 1;
            }
        }
    }
    (stored, failed)
}
