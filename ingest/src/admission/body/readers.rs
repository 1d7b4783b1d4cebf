//! The bodies of one budget that are being read, in order of their start. A new body can displace the
//! oldest ones.
//!
//! Invariants:
//! - A body that is no longer read is not in the list.
//! - Bodies are displaced for their bytes only if these bytes suffice.

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
    readers: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    displacement: Arc<Notify>,
    /// The units of the budget that the body holds.
    units: usize,
}

impl Readers {
    /// For at most `limit` bodies at one time.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, active: Mutex::default() }
    }

    /// Adds a body that holds `units` of the budget. At the limit, the oldest body is displaced.
    pub(super) fn enter(self: &Arc<Self>, units: usize) -> Reader {
        let displacement = Arc::new(Notify::new());
        let mut active = self.active();
        active.last_number += 1;
        let number = active.last_number;
        active.readers.insert(number, Entry { displacement: displacement.clone(), units });
        if active.readers.len() > self.limit
            && let Some((_, oldest)) = active.readers.pop_first()
        {
            oldest.displacement.notify_one();
        }
        drop(active);
        Reader { readers: self.clone(), number, displacement }
    }

    /// All bodies of the list, as candidates for displacement.
    pub(super) fn all(&self) -> Candidates<'_> {
        Candidates { readers: self, before: u64::MAX }
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
    /// Records that the body holds `units` of the budget.
    pub(super) fn hold(&self, units: usize) {
        if let Some(entry) = self.readers.active().readers.get_mut(&self.number) {
            entry.units = units;
        }
    }

    /// The bodies that are older than this one, as candidates for displacement.
    pub(super) fn older(&self) -> Candidates<'_> {
        Candidates { readers: &self.readers, before: self.number }
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

/// Bodies that another body may displace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates<'a> {
    readers: &'a Readers,
    /// Only bodies with a smaller number.
    before: u64,
}

impl Candidates<'_> {
    /// Displaces the oldest bodies that hold `units` together. Returns false, and displaces none, if all
    /// candidates hold fewer.
    pub(super) fn displace(self, units: usize) -> bool {
        let mut active = self.readers.active();
        let mut freed = 0;
        let oldest = active.readers.range(..self.before).map_while(|(number, entry)| {
            let is_needed = freed < units;
            freed += entry.units;
            is_needed.then_some(*number)
        });
        let oldest: Vec<_> = oldest.collect();
        if freed < units {
            return false;
        }
        for number in oldest {
            if let Some(entry) = active.readers.remove(&number) {
                entry.displacement.notify_one();
            }
        }
        true
    }
}
