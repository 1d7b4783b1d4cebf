//! Where webhooks wait while the broker is away: a journal on the gateway's own disk.
//!
//! ElevenLabs never repeats a failed `call_initiation_failure`, so a 503 for it is a lost call. With
//! `SPOOL_DIR` set, a webhook that the broker does not take within its deadline is written to the
//! `journal`, answered 200 once it is synced, and brought to the broker by [`replay()`] when the broker is back.
//!
//! Invariants: `Ok` means on disk. Everything waits in bounds: for the writer by count, on disk by bytes.
//! A webhook leaves the spool only after the broker has acknowledged it; crashing in between sends it
//! twice under one id, which collapses as every repetition does.

mod journal;
mod replay;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use self::journal::{Appended, Journal, Record};
pub use self::replay::replay;
use super::publisher::Webhook;
use crate::metrics::Metrics;

/// Commands that may wait for the writer. As many webhooks may be in line for the broker.
const QUEUE: usize = 8192;
/// Webhooks that one sync stores.
const GROUP: usize = 1000;
/// Longest a webhook waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a webhook is not in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolError {
    /// The bytes that may be kept are kept.
    Full,
    /// Too many wait for the disk.
    Busy,
    /// The disk did not answer in time. The webhook may be in the spool yet.
    TimedOut,
    /// The disk failed, or the spool is closed.
    Disk,
}

impl SpoolError {
    /// Stable name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Disk => "disk_failed",
        }
    }
}

enum Command {
    /// Keep a webhook; true where it was kept already.
    Append(Arc<Webhook>, oneshot::Sender<Result<bool, SpoolError>>),
    /// Read from this place on: at most so many webhooks, of so many bytes.
    Read(u64, usize, usize, oneshot::Sender<Vec<Record>>),
    Remove(Vec<u64>, oneshot::Sender<Result<(), SpoolError>>),
}

/// What the writer tells of its state.
#[derive(Debug, Default)]
struct State {
    /// Webhooks that are kept.
    waiting: AtomicU64,
    /// Whether the last one found no room.
    full: AtomicBool,
}

/// Hands webhooks to the thread that writes. The thread ends with the last handle.
#[derive(Debug)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    state: Arc<State>,
    metrics: Metrics,
}

impl Spool {
    /// Opens the spool in `folder`, to keep at most `most` bytes.
    pub fn open(folder: &Path, most: u64, metrics: Metrics) -> Result<Self, redb::Error> {
        let journal = Journal::open(folder)?;
        let waiting = journal.held();
        if waiting.webhooks > 0 {
            tracing::info!(webhooks = waiting.webhooks, bytes = waiting.bytes, "webhooks wait in the spool");
        }
        let (commands, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        let writer = Writer {
            folder: folder.to_owned(),
            most,
            journal: Some(journal),
            state: state.clone(),
            metrics: metrics.clone(),
        };
        writer.show();
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || writer.run(queue))?;
        Ok(Self { commands, state, metrics })
    }

    /// Whether the last webhook found no room.
    pub fn is_full(&self) -> bool {
        self.state.full.load(Ordering::Relaxed)
    }

    /// How many webhooks wait.
    fn waiting(&self) -> u64 {
        self.state.waiting.load(Ordering::Relaxed)
    }

    /// Keeps `webhook`: on disk when this returns; true where it was there already.
    pub async fn store(&self, webhook: Arc<Webhook>) -> Result<bool, SpoolError> {
        let (reply, outcome) = oneshot::channel();
        let kept = match self.commands.try_send(Command::Append(webhook, reply)) {
            Ok(()) => {
                let answer = tokio::time::timeout(TIMEOUT, outcome).await;
                answer.map_or(Err(SpoolError::TimedOut), |answer| answer.unwrap_or(Err(SpoolError::Disk)))
            }
            Err(mpsc::error::TrySendError::Full(_)) => Err(SpoolError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SpoolError::Disk),
        };
        self.metrics.spooled(match kept {
            Ok(false) => "kept",
            Ok(true) => "duplicate",
            Err(error) => error.label(),
        });
        kept
    }

    async fn read(&self, place: u64, count: usize, bytes: usize) -> Vec<Record> {
        let (reply, records) = oneshot::channel();
        let sent = self.commands.send(Command::Read(place, count, bytes, reply)).await;
        if sent.is_err() { Vec::new() } else { records.await.unwrap_or_default() }
    }

    async fn remove(&self, places: Vec<u64>) -> Result<(), SpoolError> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command::Remove(places, reply)).await;
        sent.map_err(|_| SpoolError::Disk)?;
        outcome.await.unwrap_or(Err(SpoolError::Disk))
    }
}

/// The one thread that touches the file.
struct Writer {
    folder: PathBuf,
    most: u64,
    /// None after a failure of the disk: opened anew for the next command.
    journal: Option<Journal>,
    state: Arc<State>,
    metrics: Metrics,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            let (mut webhooks, mut replies) = (Vec::new(), Vec::new());
            let mut next = Some(command);
            // Whatever waits to be kept shares one sync; the first other command ends the group.
            while let Some(Command::Append(webhook, reply)) = next {
                webhooks.push(webhook);
                replies.push(reply);
                next = if webhooks.len() < GROUP { queue.try_recv().ok() } else { None };
            }
            if !webhooks.is_empty() {
                self.append(&webhooks, replies);
            }
            match next {
                Some(Command::Read(place, count, bytes, reply)) => {
                    let records = self.with(|journal| journal.read(place, count, bytes));
                    let _left = reply.send(records.unwrap_or_default());
                }
                Some(Command::Remove(places, reply)) => {
                    let removed = self.with(|journal| journal.remove(&places));
                    self.state.full.store(false, Ordering::Relaxed);
                    let _left = reply.send(removed.ok_or(SpoolError::Disk));
                }
                Some(Command::Append(..)) | None => {}
            }
            self.show();
        }
    }

    fn append(&mut self, webhooks: &[Arc<Webhook>], replies: Vec<oneshot::Sender<Result<bool, SpoolError>>>) {
        let most = self.most;
        match self.with(|journal| journal.append(webhooks, most)) {
            Some(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    self.state.full.store(outcome == Appended::Full, Ordering::Relaxed);
                    let _left = reply.send(match outcome {
                        Appended::Kept => Ok(false),
                        Appended::Duplicate => Ok(true),
                        Appended::Full => Err(SpoolError::Full),
                    });
                }
            }
            None => replies.into_iter().for_each(|reply| {
                let _left = reply.send(Err(SpoolError::Disk));
            }),
        }
    }

    /// Does something with the journal; None where the disk failed. `redb` goes on after a failed write
    /// only once the file was closed and opened again.
    fn with<T>(&mut self, action: impl FnOnce(&mut Journal) -> Result<T, redb::Error>) -> Option<T> {
        let outcome = match &mut self.journal {
            Some(journal) => action(journal),
            None => Journal::open(&self.folder).and_then(|journal| action(self.journal.insert(journal))),
        };
        outcome
            .inspect_err(|error| {
                tracing::error!(%error, "the spool cannot be read or written");
                self.journal = None;
            })
            .ok()
    }

    fn show(&self) {
        if let Some(journal) = &self.journal {
            let held = journal.held();
            self.state.waiting.store(held.webhooks, Ordering::Relaxed);
            self.metrics.spool_webhooks.set(i64::try_from(held.webhooks).unwrap_or(i64::MAX));
            self.metrics.spool_bytes.set(i64::try_from(held.bytes).unwrap_or(i64::MAX));
        }
    }
}
