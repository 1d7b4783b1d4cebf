//! Brings what waits in the spool to the broker, in order, under the same ids.
//!
//! Invariant: a webhook is removed from the spool only after the broker has acknowledged it.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::Spool;
use crate::storage::Storage;

/// Webhooks sent at a time, and their bytes. Live ones go between them.
const GROUP: (usize, usize) = (256, 8 * 1024 * 1024);
/// How often an idle replay looks whether there is something to do.
const LOOK: Duration = Duration::from_millis(200);
/// First and longest pause after the broker did not take something.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Brings what is in `spool` to the broker whenever that can be reached, until `stop`.
pub async fn replay(storage: Arc<Storage>, spool: Arc<Spool>, stop: CancellationToken) {
    stop.run_until_cancelled(forever(&storage, &spool)).await;
}

async fn forever(storage: &Storage, spool: &Spool) {
    // From here on nothing was tried yet in this round.
    let (mut place, mut failed, mut pause) = (0, false, RETRY.0);
    loop {
        if spool.waiting() == 0 || !storage.can_publish() {
            tokio::time::sleep(LOOK).await;
            place = 0;
            continue;
        }
        let records = spool.read(place, GROUP.0, GROUP.1).await;
        let Some(last) = records.last() else {
            // The end of a round. What was refused stays for the next one, and holds nothing else up.
            if failed {
                let jitter = rand::rng().random_range(0.5..=1.0);
                tokio::time::sleep(pause.mul_f64(jitter)).await;
                pause = (pause * 2).min(RETRY.1);
            } else {
                tokio::time::sleep(LOOK).await;
            }
            (place, failed) = (0, false);
            continue;
        };
        place = last.place + 1;
        let sent = records.into_iter().map(async |record| {
            let outcome = storage.in_stream(&Arc::new(record.webhook)).await;
            (record.place, outcome)
        });
        let mut stored = Vec::new();
        for (place, outcome) in join_all(sent).await {
            match outcome {
                Ok(_) => stored.push(place),
                Err(error) => {
                    tracing::debug!(reason = error.label(), "a webhook stays in the spool");
                    failed = true;
                }
            }
        }
        if stored.is_empty() {
            place = u64::MAX; // Nobody takes anything: the round is over.
            continue;
        }
        let count = stored.len();
        match spool.remove(stored).await {
            Ok(()) => {
                pause = RETRY.0;
                spool.metrics.spool_replayed.inc_by(count as u64);
                tracing::info!(
                    webhooks = count,
                    left = spool.waiting(),
                    "webhooks went from the spool to the broker"
                );
            }
            // They go once more, and collapse.
            Err(_) => failed = true,
        }
    }
}
