//! Publishes the webhooks of the spool when the broker is back, in the order of their arrival and with the
//! same ids.
//!
//! Invariant: a webhook is removed from the spool only after the broker has acknowledged it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::{Spool, journal::Record};
use crate::storage::Storage;

/// Most webhooks, and most bytes, that are published in one step. New webhooks are published between the
/// steps.
const MAX_GROUP: (usize, usize) = (256, 8 * 1024 * 1024);
/// Interval at which an idle replay checks for webhooks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// First and longest pause after the broker has not stored a webhook.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Publishes the webhooks of `spool` whenever the broker can be reached, until `stop`.
pub async fn replay(storage: Arc<Storage>, spool: Arc<Spool>, stop: CancellationToken) {
    stop.run_until_cancelled(replay_forever(&storage, &spool)).await;
}

/// Publishes in rounds. A round visits each webhook once; a webhook that the broker refuses stays for the
/// next round and delays no other.
async fn replay_forever(storage: &Storage, spool: &Spool) {
    let (mut position, mut has_failed, mut delay) = (0, false, RETRY_DELAY.0);
    loop {
        if spool.webhooks() == 0 || !storage.can_publish() {
            tokio::time::sleep(POLL_INTERVAL).await;
            position = 0;
            continue;
        }
        let records = spool.read(position, MAX_GROUP.0, MAX_GROUP.1).await;
        let Some(last) = records.last() else {
            // The end of a round.
            if has_failed {
                let jitter = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep(delay.mul_f64(jitter)).await;
                delay = (delay * 2).min(RETRY_DELAY.1);
            } else {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            (position, has_failed) = (0, false);
            continue;
        };
        position = last.position + 1;
        let (stored, failed) = publish(storage, records).await;
        has_failed |= failed > 0;
        if stored.is_empty() {
            position = u64::MAX; // The broker stores nothing: end this round.
            continue;
        }
        let count = stored.len();
        match spool.remove(stored).await {
            Ok(()) => {
                delay = RETRY_DELAY.0;
                spool.metrics.spool_replayed.inc_by(count as u64);
                let left = spool.webhooks();
                tracing::info!(webhooks = count, left, "webhooks of the spool are stored by the broker");
            }
            // They are published once more, and the broker drops the duplicates.
            Err(_) => has_failed = true,
        }
    }
}

/// Publishes `records` together. Returns the positions of the stored webhooks, and the number of failures.
async fn publish(storage: &Storage, records: Vec<Record>) -> (Vec<u64>, usize) {
    let published = records.into_iter().map(async |record| {
        let result = storage.store_in_stream(&Arc::new(record.webhook)).await;
        (record.position, result)
    });
    let (mut stored, mut failed) = (Vec::new(), 0);
    for (position, result) in join_all(published).await {
        match result {
            Ok(_) => stored.push(position),
            Err(error) => {
                tracing::debug!(reason = error.label(), "the broker has not stored a webhook of the spool");
                failed += 1;
            }
        }
    }
    (stored, failed)
}
