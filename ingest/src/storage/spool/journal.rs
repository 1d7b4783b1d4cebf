//! The interface of the stores of the spool.

use std::{ops::Range, path::Path, sync::Arc};

use crate::storage::message::Webhook;

/// The positions of a record: its own, and that of the next record. Later webhooks have higher positions.
pub(super) type RecordRange = Range<u64>;

/// A webhook in the journal.
#[derive(Debug)]
pub(super) struct Record {
    pub range: RecordRange,
    pub webhook: Arc<Webhook>,
}

/// The outcome of storing one webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// The webhook is on disk now.
    Stored,
    /// The journal already had the webhook.
    Duplicate,
    /// The journal would exceed its maximum size with the webhook.
    Full,
}

/// The size of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JournalSize {
    pub webhooks: u64,
    pub bytes: u64,
}

/// Webhooks on disk.
///
/// Invariants:
/// - When [`Journal::append`] returns, the webhooks are on disk.
/// - Positions only grow, so webhooks are read in the order of their arrival.
/// - The bytes of all webhooks never exceed the maximum.
pub(super) trait Journal: Send + Sized + 'static {
    /// The error of a disk operation.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens the journal in `folder`, and creates it if it is missing. No other process can open it at the same time.
    fn open(folder: &Path) -> Result<Self, Self::Error>;

    /// Whether `folder` has such a journal.
    fn exists(folder: &Path) -> bool;

    /// How much the journal holds.
    fn size(&self) -> JournalSize;

    /// Stores `webhooks` with one sync. A webhook with which the journal would exceed `max_bytes` is left out.
    /// Returns one outcome for each webhook.
    fn append(&mut self, webhooks: &[Arc<Webhook>], max_bytes: u64) -> Result<Vec<Appended>, Self::Error>;

    /// Reads webhooks in the order of their arrival, from the position `start` on: at most `max_webhooks`, whose bodies
    /// take at most `max_bytes`. The first webhook is returned whatever its size.
    fn read(&mut self, start: u64, max_webhooks: usize, max_bytes: usize)
    -> Result<Vec<Record>, Self::Error>;

    /// Removes the webhooks at `ranges`. A range without a webhook is ignored.
    fn remove(&mut self, ranges: &[RecordRange]) -> Result<(), Self::Error>;
}

#[cfg(test)]
pub(super) mod tests;
