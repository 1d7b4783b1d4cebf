//! The thread that reads and writes the journal.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    error::SpoolError,
    journal::{Appended, Journal, JournalSize, Record, RecordRange},
};
use crate::{metrics::Metrics, storage::message::Webhook};

/// Most webhooks that one sync writes to disk.
const MAX_APPENDED: usize = 1000;

/// Time in which webhooks are not offered to a disk that did not answer in time.
const STALL_PAUSE: Duration = Duration::from_secs(5);

/// A command for the thread, with the channel for its result.
pub(super) enum Command {
    /// Stores a webhook, if its request still waits. The result is whether the spool already had it.
    Append(Weak<Webhook>, oneshot::Sender<StoreResult>),
    /// Reads webhooks from the position `start` on.
    Read { start: u64, max_webhooks: usize, max_bytes: usize, reply: oneshot::Sender<Vec<Record>> },
    /// Removes the webhooks at these ranges.
    Remove(Vec<RecordRange>, oneshot::Sender<Result<(), SpoolError>>),
}

/// Requests with their results. The results of a group go to the runtime in one piece, because waking a task of the
/// runtime from another thread costs a system call each time.
pub(super) type Results = Vec<(oneshot::Sender<StoreResult>, StoreResult)>;

/// Whether the spool already had a webhook, or why it does not hold it.
pub(super) type StoreResult = Result<bool, SpoolError>;

/// The state of the journal, for other threads.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The number of webhooks in the journal.
    pub webhooks: AtomicU64,
    /// Whether the latest webhook did not fit into the journal.
    pub is_full: AtomicBool,
    /// When a wait for the disk timed out, if none has ended since.
    stalled_at: Mutex<Option<Instant>>,
    /// Notified when webhooks were stored.
    pub appended: Notify,
}

impl State {
    /// Whether the disk did not answer a short time ago.
    pub fn is_stalled(&self) -> bool {
        let stalled_at = *self.stalled_at.lock().unwrap_or_else(PoisonError::into_inner);
        stalled_at.is_some_and(|at| at.elapsed() < STALL_PAUSE)
    }

    /// Notes that a wait for the disk timed out.
    pub fn stalled(&self) {
        let mut stalled_at = self.stalled_at.lock().unwrap_or_else(PoisonError::into_inner);
        if stalled_at.replace(Instant::now()).is_none() {
            tracing::warn!("the disk of SPOOL_DIR does not answer in time");
        }
    }

    /// Notes that a wait for the disk has ended.
    fn answered(&self) {
        let mut stalled_at = self.stalled_at.lock().unwrap_or_else(PoisonError::into_inner);
        if stalled_at.take().is_some() {
            tracing::info!("the disk of SPOOL_DIR answers again");
        }
    }
}

/// The only owner of the files.
pub(super) struct Writer<J> {
    folder: PathBuf,
    max_bytes: u64,
    /// `None` after a failure of the disk. The next command opens the files again.
    journal: Option<J>,
    /// The size that the metrics include.
    exported: JournalSize,
    results: mpsc::Sender<Results>,
    state: Arc<State>,
    metrics: Metrics,
}

impl<J: Journal> Writer<J> {
    pub fn new(
        folder: PathBuf,
        max_bytes: u64,
        journal: J,
        results: mpsc::Sender<Results>,
        state: Arc<State>,
        metrics: Metrics,
    ) -> Self {
        let exported = JournalSize::default();
        let mut writer =
            Self { folder, max_bytes, journal: Some(journal), exported, results, state, metrics };
        writer.export();
        writer
    }

    /// Runs commands until the queue is closed.
    pub fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            let (mut webhooks, mut replies) = (Vec::new(), Vec::new());
            let mut next = Some(command);
            // All webhooks that are queued share one sync. Another command ends the group.
            while let Some(Command::Append(webhook, reply)) = next {
                if let Some(webhook) = webhook.upgrade() {
                    webhooks.push(webhook);
                    replies.push(reply);
                }
                next = if webhooks.len() < MAX_APPENDED { queue.try_recv().ok() } else { None };
            }
            if !webhooks.is_empty() {
                self.append(&webhooks, replies);
                self.state.appended.notify_one();
            }
            match next {
                Some(Command::Read { start, max_webhooks, max_bytes, reply }) => {
                    let records = self.with(|journal| journal.read(start, max_webhooks, max_bytes));
                    self.export(); // Damaged webhooks are left out.
                    let _receiver_has_left = reply.send(records.unwrap_or_default());
                }
                Some(Command::Remove(ranges, reply)) => {
                    let removed = self.with(|journal| journal.remove(&ranges));
                    self.state.is_full.store(false, Ordering::Relaxed);
                    self.export(); // Before the reply: whoever has removed the last webhook sees an empty spool.
                    let _receiver_has_left = reply.send(removed.ok_or(SpoolError::Disk));
                }
                Some(Command::Append(..)) | None => {}
            }
        }
    }

    fn append(&mut self, webhooks: &[Arc<Webhook>], replies: Vec<oneshot::Sender<StoreResult>>) {
        let max_bytes = self.max_bytes;
        let outcomes = self.with(|journal| journal.append(webhooks, max_bytes));
        self.state.answered();
        self.export();
        let results = match outcomes {
            Some(outcomes) => {
                let is_full = outcomes.last() == Some(&Appended::Full);
                self.state.is_full.store(is_full, Ordering::Relaxed);
                let results = outcomes.into_iter().map(|outcome| match outcome {
                    Appended::Stored => Ok(false),
                    Appended::Duplicate => Ok(true),
                    Appended::Full => Err(SpoolError::Full),
                });
                replies.into_iter().zip(results).collect()
            }
            None => replies.into_iter().map(|reply| (reply, Err(SpoolError::Disk))).collect(),
        };
        let _gateway_has_ended = self.results.blocking_send(results);
    }

    /// Runs `action` on the journal. `None` if the disk fails. The journal is closed then, because it can only be
    /// written again after its files were closed and opened.
    fn with<T>(&mut self, action: impl FnOnce(&mut J) -> Result<T, J::Error>) -> Option<T> {
        let result = match &mut self.journal {
            Some(journal) => action(journal),
            None => J::open(&self.folder).and_then(|journal| action(self.journal.insert(journal))),
        };
        result
            .inspect_err(|error| {
                tracing::error!(%error, "the spool cannot be read or written: check the disk of SPOOL_DIR");
                self.journal = None;
            })
            .ok()
    }

    /// Shows the size of the journal to other threads and in the metrics.
    fn export(&mut self) {
        let Some(journal) = &self.journal else { return };
        let (size, before) = (journal.size(), self.exported);
        self.exported = size;
        self.state.webhooks.store(size.webhooks, Ordering::Relaxed);
        // By differences: what another mode has left in the folder counts too.
        self.metrics.spool_webhooks.inc_by(size.webhooks.cast_signed() - before.webhooks.cast_signed());
        self.metrics.spool_bytes.inc_by(size.bytes.cast_signed() - before.bytes.cast_signed());
    }
}

impl<J> Drop for Writer<J> {
    fn drop(&mut self) {
        self.metrics.spool_webhooks.dec_by(self.exported.webhooks.cast_signed());
        self.metrics.spool_bytes.dec_by(self.exported.bytes.cast_signed());
    }
}
