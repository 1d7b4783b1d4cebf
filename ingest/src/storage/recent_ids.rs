//! The ids of webhooks that were stored recently.

use std::{collections::HashSet, hash::Hash};

/// Ids in each of the two generations. Both together take less than two megabytes.
const GENERATION_SIZE: usize = 16 * 1024;

/// The ids that were stored recently.
///
/// A forgotten id costs a second copy of the webhook with the same id, which the broker or the worker drops.
#[derive(Debug)]
pub(super) struct RecentIds<I> {
    young: HashSet<I>,
    old: HashSet<I>,
}

impl<I> Default for RecentIds<I> {
    fn default() -> Self {
        Self { young: HashSet::new(), old: HashSet::new() }
    }
}

impl<I: Copy + Eq + Hash> RecentIds<I> {
    pub fn insert(&mut self, id: I) {
        if self.young.len() >= GENERATION_SIZE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    pub fn contains(&self, id: I) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_ids_are_remembered_within_a_bound() {
        let mut recent = RecentIds::default();
        for n in 0..100_000_u64 {
            recent.insert(n);
            assert!(recent.contains(n) && recent.contains(n.saturating_sub(GENERATION_SIZE as u64 - 1)));
        }
        assert!(!recent.contains(0));
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION_SIZE);
    }
}
