//! The latest webhooks of the log, in memory. They are usually published right after they were written, and need not be
//! read from the disk for that.
//!
//! Invariant: no webhook of the log is missing between the first one here and the last one of the log.

use std::{collections::VecDeque, sync::Arc};

use crate::storage::{
    message::Webhook,
    spool::journal::{Place, Record},
};

/// Most webhooks that are kept.
const MAX_WEBHOOKS: usize = 8192;
/// Most bytes of their bodies.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The latest webhooks, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    webhooks: VecDeque<(Place, Arc<Webhook>)>,
    bytes: usize,
}

impl Fresh {
    /// Adds a webhook that is on disk. If there are too many, all are forgotten: the disk has them.
    pub fn add(&mut self, place: Place, webhook: Arc<Webhook>) {
        self.bytes += webhook.body.len();
        self.webhooks.push_back((place, webhook));
        if self.webhooks.len() > MAX_WEBHOOKS || self.bytes > MAX_BYTES {
            *self = Self::default();
        }
    }

    /// Forgets the webhooks at places lower than `place`.
    pub fn forget_below(&mut self, place: u64) {
        while let Some((first, webhook)) = self.webhooks.front()
            && first.start < place
        {
            self.bytes -= webhook.body.len();
            self.webhooks.pop_front();
        }
    }

    /// The webhooks from `start` on. `None`: the disk may have others between `start` and the first one here.
    pub fn from(&self, start: u64) -> Option<impl Iterator<Item = Record>> {
        self.webhooks.front().filter(|(first, _)| first.start <= start)?;
        let skipped = self.webhooks.partition_point(|(place, _)| place.start < start);
        let webhooks = self.webhooks.iter().skip(skipped);
        Some(webhooks.map(|(place, webhook)| Record { place: place.clone(), webhook: webhook.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::spool::journal::tests::webhook;

    fn starts(fresh: &Fresh, start: u64) -> Option<Vec<u64>> {
        Some(fresh.from(start)?.map(|record| record.place.start).collect())
    }

    #[test]
    fn webhooks_are_found_from_a_place_on_if_none_is_missing() {
        let mut fresh = Fresh::default();
        assert_eq!(starts(&fresh, 0), None);
        for start in [10, 20, 30] {
            fresh.add(start..start + 10, webhook("a"));
        }
        assert_eq!(starts(&fresh, 9), None);
        assert_eq!(starts(&fresh, 10), Some(vec![10, 20, 30]));
        assert_eq!(starts(&fresh, 11), Some(vec![20, 30]));
        assert_eq!(starts(&fresh, 40), Some(vec![]));
        fresh.forget_below(30);
        assert_eq!(starts(&fresh, 20), None);
        assert_eq!(starts(&fresh, 30), Some(vec![30]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut fresh = Fresh::default();
        for start in 0..100_000 {
            fresh.add(start..start + 1, webhook("a"));
            assert!(fresh.webhooks.len() <= MAX_WEBHOOKS);
        }
        let large = webhook(&"x".repeat(MAX_BYTES));
        fresh.add(100_000..100_001, large);
        assert_eq!((fresh.bytes, fresh.webhooks.len()), (0, 0));
    }
}
