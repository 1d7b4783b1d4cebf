//! Stores webhooks on the gateway's own disk while the broker is away (`SPOOL_DIR`).
//!
//! ElevenLabs does not repeat a failed `call_initiation_failure`, so a 503 for it loses the call. With a
//! spool, a webhook that the broker does not store by its deadline is written to the journal and answered
//! 200. When the broker is back, [`replay()`] publishes it.
//!
//! Invariants:
//! - `Ok` means that the webhook is on disk.
//! - The number of webhooks in the queue is bounded, and so are the bytes in the journal.
//! - A webhook is removed only after the broker has acknowledged it. After a crash between these two steps it
//!   is published twice with the same id, and the broker or the worker drops the duplicate.

mod error;
mod journal;
mod private_file;
mod replay;
mod writer;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

pub use self::{error::SpoolError, replay::replay};
use self::{
    journal::{Journal, Record},
    writer::{Command, State, Writer},
};
use super::message::Webhook;
use crate::metrics::{DUPLICATE, KEPT, Metrics};

/// Longest queue for the writer. The queue for the broker has the same length.
const MAX_QUEUED: usize = 8192;
/// Longest wait for the disk.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// The spool. A thread of its own reads and writes the file; it ends when the last handle is dropped.
#[derive(Debug)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    state: Arc<State>,
    metrics: Metrics,
}

impl Spool {
    /// Opens the spool in `folder`, which may hold at most `max_bytes` of webhooks.
    pub fn open(folder: &Path, max_bytes: u64, metrics: Metrics) -> Result<Self, redb::Error> {
        let journal = Journal::open(folder)?;
        let size = journal.size();
        if size.webhooks > 0 {
            tracing::info!(
                webhooks = size.webhooks,
                bytes = size.bytes,
                "the spool holds webhooks for the broker"
            );
        }
        let (commands, queue) = mpsc::channel(MAX_QUEUED);
        let state = Arc::new(State::default());
        let writer = Writer::new(folder.to_owned(), max_bytes, journal, state.clone(), metrics.clone());
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run(queue))?;
        Ok(Self { commands, state, metrics })
    }

    /// Whether the latest webhook did not fit into the spool.
    pub fn is_full(&self) -> bool {
        self.state.is_full.load(Ordering::Relaxed)
    }

    /// The number of webhooks in the spool.
    fn webhooks(&self) -> u64 {
        self.state.webhooks.load(Ordering::Relaxed)
    }

    /// Writes `webhook` to disk. Returns whether the spool already had it.
    pub async fn store(&self, webhook: Arc<Webhook>) -> Result<bool, SpoolError> {
        let (reply, result) = oneshot::channel();
        let stored = match self.commands.try_send(Command::Append(webhook, reply)) {
            Ok(()) => {
                let result = tokio::time::timeout(STORE_TIMEOUT, result).await;
                result.map_or(Err(SpoolError::TimedOut), |result| result.unwrap_or(Err(SpoolError::Disk)))
            }
            Err(mpsc::error::TrySendError::Full(_)) => Err(SpoolError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SpoolError::Disk),
        };
        self.metrics.spooled(match stored {
            Ok(false) => KEPT,
            Ok(true) => DUPLICATE,
            Err(error) => error.label(),
        });
        stored
    }

    /// Reads webhooks in the order of their arrival, from `position` on: at most `max_webhooks` of
    /// `max_bytes` in all, but at least one. Returns none if the disk fails.
    async fn read(&self, position: u64, max_webhooks: usize, max_bytes: usize) -> Vec<Record> {
        let (reply, records) = oneshot::channel();
        let command = Command::Read { position, max_webhooks, max_bytes, reply };
        let sent = self.commands.send(command).await;
        if sent.is_err() { Vec::new() } else { records.await.unwrap_or_default() }
    }

    /// Removes the webhooks at `positions`.
    async fn remove(&self, positions: Vec<u64>) -> Result<(), SpoolError> {
        let (reply, result) = oneshot::channel();
        let sent = self.commands.send(Command::Remove(positions, reply)).await;
        sent.map_err(|_| SpoolError::Disk)?;
        result.await.unwrap_or(Err(SpoolError::Disk))
    }
}
