//! The thread that reads and writes the journal.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    error::SpoolError,
    journal::{Appended, Journal, JournalSize, Place, Record},
};
use crate::{metrics::Metrics, storage::message::Webhook};

/// Most webhooks that one sync writes to disk.
const MAX_APPENDED: usize = 1000;

/// A command for the thread, with the channel for its result.
pub(super) enum Command {
    /// Stores a webhook. The result is whether the spool already had it.
    Append(Arc<Webhook>, oneshot::Sender<Result<bool, SpoolError>>),
    /// Reads webhooks from the place `start` on.
    Read { start: u64, max_webhooks: usize, max_bytes: usize, reply: oneshot::Sender<Vec<Record>> },
    /// Removes the webhooks at these places.
    Remove(Vec<Place>, oneshot::Sender<Result<(), SpoolError>>),
}

/// The state of the journal, for other threads.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The number of webhooks in the journal.
    pub webhooks: AtomicU64,
    /// Whether the latest webhook did not fit into the journal.
    pub is_full: AtomicBool,
    /// Whether a webhook has waited for the disk in vain, and none was stored since.
    pub is_stalled: AtomicBool,
    /// Notified when webhooks were stored.
    pub appended: Notify,
}

/// The only owner of the files.
pub(super) struct Writer<J> {
    folder: PathBuf,
    max_bytes: u64,
    /// `None` after a failure of the disk. The next command opens the files again.
    journal: Option<J>,
    /// The size that the metrics include.
    exported: JournalSize,
    state: Arc<State>,
    metrics: Metrics,
}

impl<J: Journal> Writer<J> {
    pub fn new(folder: PathBuf, max_bytes: u64, journal: J, state: Arc<State>, metrics: Metrics) -> Self {
        let exported = JournalSize::default();
        let mut writer = Self { folder, max_bytes, journal: Some(journal), exported, state, metrics };
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
                webhooks.push(webhook);
                replies.push(reply);
                next = if webhooks.len() < MAX_APPENDED { queue.try_recv().ok() } else { None };
            }
            if !webhooks.is_empty() {
                self.append(&webhooks, replies);
                self.export();
                self.state.appended.notify_one();
            }
            match next {
                Some(Command::Read { start, max_webhooks, max_bytes, reply }) => {
                    let records = self.with(|journal| journal.read(start, max_webhooks, max_bytes));
                    let _receiver_has_left = reply.send(records.unwrap_or_default());
                }
                Some(Command::Remove(places, reply)) => {
                    let removed = self.with(|journal| journal.remove(&places));
                    self.state.is_full.store(false, Ordering::Relaxed);
                    self.export(); // Before the reply: whoever has removed the last webhook sees an empty spool.
                    let _receiver_has_left = reply.send(removed.ok_or(SpoolError::Disk));
                }
                Some(Command::Append(..)) | None => {}
            }
        }
    }

    fn append(&mut self, webhooks: &[Arc<Webhook>], replies: Vec<oneshot::Sender<Result<bool, SpoolError>>>) {
        let max_bytes = self.max_bytes;
        match self.with(|journal| journal.append(webhooks, max_bytes)) {
            Some(outcomes) => {
                self.state.is_stalled.store(false, Ordering::Relaxed);
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    self.state.is_full.store(outcome == Appended::Full, Ordering::Relaxed);
                    let _receiver_has_left = reply.send(match outcome {
                        Appended::Stored => Ok(false),
                        Appended::Duplicate => Ok(true),
                        Appended::Full => Err(SpoolError::Full),
                    });
                }
            }
            None => replies.into_iter().for_each(|reply| {
                let _receiver_has_left = reply.send(Err(SpoolError::Disk));
            }),
        }
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
