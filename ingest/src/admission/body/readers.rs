//! The bodies of one budget that are being read, so that the oldest can make room.
//!
//! Invariant: a reader that has ended, however it ended, is not among them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The bodies being read, oldest first.
#[derive(Debug)]
pub(super) struct Readers {
    most: usize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    last: u64,
    readers: BTreeMap<u64, Arc<Notify>>,
}

impl Readers {
    /// At most `most` at one time.
    pub(super) fn new(most: usize) -> Self {
        Self { most, line: Mutex::default() }
    }

    /// One more; beyond the bound the oldest is displaced.
    pub(super) fn enter(self: &Arc<Self>) -> Reader {
        let wanted = Arc::new(Notify::new());
        let mut line = self.line();
        line.last += 1;
        let number = line.last;
        line.readers.insert(number, wanted.clone());
        if line.readers.len() > self.most
            && let Some((_, oldest)) = line.readers.pop_first()
        {
            oldest.notify_one();
        }
        drop(line);
        Reader { readers: self.clone(), number, wanted }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body that is being read, until dropped.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Arc<Readers>,
    number: u64,
    wanted: Arc<Notify>,
}

impl Reader {
    /// Displaces the oldest body that is older than this one. False: there is none.
    pub(super) fn displace_oldest(&self) -> bool {
        let mut line = self.readers.line();
        let is_older = line.readers.first_key_value().is_some_and(|(&number, _)| number < self.number);
        let oldest = if is_older { line.readers.pop_first() } else { None };
        if let Some((_, wanted)) = &oldest {
            wanted.notify_one();
        }
        oldest.is_some()
    }

    /// Until another body displaces this one.
    pub(super) async fn displaced(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.line().readers.remove(&self.number);
    }
}
