//! Stores webhooks on the gateway's own disk (`SPOOL_DIR`).
//!
//! ElevenLabs does not repeat a failed `call_initiation_failure`, so a 503 for it loses the call. With
//! `SPOOL=fallback`, a webhook that the broker does not store by its deadline is written to the journal and answered
//! 200. With `SPOOL=first`, every webhook is written to the journal and answered 200, because a sync of the own disk is
//! several times as fast as the broker. In both cases [`replay()`] publishes the webhooks, as soon as the broker takes
//! them.
//!
//! Invariants:
//! - `Ok` means that the webhook is on disk.
//! - The number of webhooks in the queue is bounded, and so are the bytes in the journal.
//! - A webhook is removed only after the broker has acknowledged it. After a crash between these two steps it
//!   is published twice with the same id, and the broker or the worker drops the duplicate.

mod database;
mod error;
mod journal;
mod log;
mod private_file;
mod replay;
mod writer;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::{
    database::WebhookDatabase,
    journal::{Journal, Record, RecordRange},
    log::WebhookLog,
    writer::{Command, Results, State, Writer},
};
pub use self::{error::SpoolError, replay::replay};
use super::message::Webhook;
use crate::{
    config::{Config, SpoolMode},
    metrics::{DUPLICATE, KEPT, Metrics},
};

/// Longest queue for the writer. The queue for the broker has the same length.
const MAX_QUEUED: usize = 8192;
/// Interval at which [`Spool::until_empty`] checks the number of webhooks.
const EMPTY_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Most files that the spool of `config` has open.
pub fn files(config: &Config) -> usize {
    match (&config.spool_dir, config.spool) {
        (None, _) | (_, SpoolMode::Fallback) => 0,
        (Some(_), SpoolMode::First) => log::max_files(config.spool_max_bytes.get()),
    }
}

/// Longest wait for the disk. In the mode `first`, the broker can still store the webhook afterwards.
fn store_timeout(mode: SpoolMode) -> Duration {
    match mode {
        SpoolMode::Fallback => Duration::from_secs(5),
        SpoolMode::First => Duration::from_secs(2),
    }
}

/// The spool. A thread of its own reads and writes the files; it ends when the last handle is dropped.
#[derive(Debug)]
pub struct Spool {
    mode: SpoolMode,
    commands: mpsc::Sender<Command>,
    results: Mutex<mpsc::Receiver<Results>>,
    state: Arc<State>,
    metrics: Metrics,
}

impl Spool {
    /// Opens the spool in `folder`, which may hold at most `max_bytes` of webhooks.
    ///
    /// # Errors
    /// The files cannot be read or written, or another process has opened them.
    pub fn open(
        folder: &Path,
        mode: SpoolMode,
        max_bytes: u64,
        metrics: Metrics,
    ) -> Result<Self, anyhow::Error> {
        match mode {
            SpoolMode::Fallback => Self::start::<WebhookDatabase>(folder, mode, max_bytes, metrics),
            SpoolMode::First => Self::start::<WebhookLog>(folder, mode, max_bytes, metrics),
        }
    }

    /// Opens what was left in `folder` by the mode other than `mode`. `None`: nothing.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn open_left_by_other_mode(
        folder: &Path,
        mode: SpoolMode,
        max_bytes: u64,
        metrics: Metrics,
    ) -> Result<Option<Self>, anyhow::Error> {
        let other = mode.other();
        let exists = match other {
            SpoolMode::Fallback => WebhookDatabase::exists(folder),
            SpoolMode::First => WebhookLog::exists(folder),
        };
        if !exists {
            return Ok(None);
        }
        let left = Self::open(folder, other, max_bytes, metrics)?;
        Ok((left.webhooks() > 0).then_some(left))
    }

    fn start<J: Journal>(
        folder: &Path,
        mode: SpoolMode,
        max_bytes: u64,
        metrics: Metrics,
    ) -> Result<Self, anyhow::Error> {
        let journal = J::open(folder)?;
        let size = journal.size();
        if size.webhooks > 0 {
            tracing::info!(
                webhooks = size.webhooks,
                bytes = size.bytes,
                "the spool holds webhooks for the broker"
            );
        }
        let (commands, queue) = mpsc::channel(MAX_QUEUED);
        let (writer_results, results) = mpsc::channel(MAX_QUEUED);
        let state = Arc::new(State::default());
        let folder = folder.to_owned();
        let writer = Writer::new(folder, max_bytes, journal, writer_results, state.clone(), metrics.clone());
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run(queue))?;
        Ok(Self { mode, commands, results: Mutex::new(results), state, metrics })
    }

    /// Whether webhooks are written here first, or only if the broker does not store them.
    pub fn mode(&self) -> SpoolMode {
        self.mode
    }

    /// Whether the latest webhook did not fit into the spool.
    pub fn is_full(&self) -> bool {
        self.state.is_full.load(Ordering::Relaxed)
    }

    /// Whether webhooks are to be written to the spool before they are published, and it can take them.
    pub fn comes_first(&self) -> bool {
        // A webhook that is too large for an empty spool says nothing about the next one.
        let is_full = self.is_full() && self.webhooks() > 0;
        self.mode == SpoolMode::First && !is_full && !self.state.is_stalled()
    }

    /// Answers the requests of [`Self::store`], until `stop`.
    pub async fn answer(self: Arc<Self>, stop: CancellationToken) {
        let mut results = self.results.lock().await;
        while let Some(Some(group)) = stop.run_until_cancelled(results.recv()).await {
            for (request, result) in group {
                let _request_has_left = request.send(result);
            }
        }
    }

    /// Waits until webhooks were stored, at most until `deadline`.
    async fn appended_until(&self, deadline: Instant) {
        let _time_is_up = tokio::time::timeout_at(deadline.into(), self.state.appended.notified()).await;
    }

    /// Waits until the spool is empty.
    pub async fn until_empty(&self) {
        while self.webhooks() > 0 {
            tokio::time::sleep(EMPTY_CHECK_INTERVAL).await;
        }
    }

    /// The number of webhooks in the spool.
    fn webhooks(&self) -> u64 {
        self.state.webhooks.load(Ordering::Relaxed)
    }

    /// Writes `webhook` to disk. Returns whether the spool already had it.
    pub async fn store(&self, webhook: Arc<Webhook>) -> Result<bool, SpoolError> {
        let (reply, result) = oneshot::channel();
        let stored = match self.commands.try_send(Command::Append(Arc::downgrade(&webhook), reply)) {
            Ok(()) => {
                let result = tokio::time::timeout(store_timeout(self.mode), result).await;
                result.map_or(Err(SpoolError::TimedOut), |result| result.unwrap_or(Err(SpoolError::Disk)))
            }
            Err(mpsc::error::TrySendError::Full(_)) => Err(SpoolError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SpoolError::Disk),
        };
        drop(webhook); // The writer skips a webhook that nobody waits for any more.
        if stored == Err(SpoolError::TimedOut) {
            self.state.stalled();
        }
        self.metrics.spooled(match stored {
            Ok(false) => KEPT,
            Ok(true) => DUPLICATE,
            Err(error) => error.label(),
        });
        stored
    }

    /// Reads webhooks in the order of their arrival, from the position `start` on: at most `max_webhooks` of
    /// `max_bytes` in all, but at least one. Returns none if the disk fails.
    async fn read(&self, start: u64, max_webhooks: usize, max_bytes: usize) -> Vec<Record> {
        let (reply, records) = oneshot::channel();
        let command = Command::Read { start, max_webhooks, max_bytes, reply };
        let sent = self.commands.send(command).await;
        if sent.is_err() { Vec::new() } else { records.await.unwrap_or_default() }
    }

    /// Removes the webhooks at `ranges`.
    async fn remove(&self, ranges: Vec<RecordRange>) -> Result<(), SpoolError> {
        let (reply, result) = oneshot::channel();
        let sent = self.commands.send(Command::Remove(ranges, reply)).await;
        sent.map_err(|_| SpoolError::Disk)?;
        result.await.unwrap_or(Err(SpoolError::Disk))
    }
}
