//! The bodies of one budget that are being read, in order of their start. A new body can displace the
//! oldest one.
//!
//! Invariant: a body that is no longer read is not in the list.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The bodies that are being read, oldest first.
#[derive(Debug)]
pub(super) struct Readers {
    limit: usize,
    active: Mutex<Active>,
}

#[derive(Debug, Default)]
struct Active {
    last_number: u64,
    readers: BTreeMap<u64, Arc<Notify>>,
}

impl Readers {
    /// For at most `limit` bodies at one time.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, active: Mutex::default() }
    }

    /// Adds a body. At the limit, the oldest body is displaced.
    pub(super) fn enter(self: &Arc<Self>) -> Reader {
        let displacement = Arc::new(Notify::new());
        let mut active = self.active();
        active.last_number += 1;
        let number = active.last_number;
        active.readers.insert(number, displacement.clone());
        if active.readers.len() > self.limit
            && let Some((_, oldest)) = active.readers.pop_first()
        {
            oldest.notify_one();
        }
        drop(active);
        Reader { readers: self.clone(), number, displacement }
    }

    /// Displaces the oldest body. Returns false if no body is being read.
    pub(super) fn displace_oldest(&self) -> bool {
        self.displace_before(u64::MAX)
    }

    /// Displaces the oldest body if it is older than the one with this `number`.
    fn displace_before(&self, number: u64) -> bool {
        let mut active = self.active();
        let is_older = active.readers.first_key_value().is_some_and(|(&oldest, _)| oldest < number);
        let oldest = if is_older { active.readers.pop_first() } else { None };
        if let Some((_, displacement)) = &oldest {
            displacement.notify_one();
        }
        oldest.is_some()
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body that is being read. Dropping it removes the body from the list.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Arc<Readers>,
    number: u64,
    displacement: Arc<Notify>,
}

impl Reader {
    /// Displaces the oldest body, if it is older than this one. Returns false if this body is the oldest one.
    pub(super) fn displace_older(&self) -> bool {
        self.readers.displace_before(self.number)
    }

    /// Waits until another body displaces this one.
    pub(super) async fn displaced(&self) {
        self.displacement.notified().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.active().readers.remove(&self.number);
    }
}
