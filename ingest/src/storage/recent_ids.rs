//! The ids of webhooks that were stored recently.

use std::collections::HashSet;

use crate::storage::message::WebhookId;

/// Ids in each of the two generations. Both together take less than two megabytes.
const GENERATION_SIZE: usize = 16 * 1024;

/// The ids that were stored recently.
///
/// A forgotten id costs a second copy of the webhook with the same id, which the broker or the worker drops.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    young: HashSet<WebhookId>,
    old: HashSet<WebhookId>,
}

impl RecentIds {
    pub fn insert(&mut self, id: WebhookId) {
        if self.young.len() >= GENERATION_SIZE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    pub fn contains(&self, id: WebhookId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> WebhookId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes.into()
    }

    #[test]
    fn the_latest_ids_are_remembered_within_a_bound() {
        let mut recent = RecentIds::default();
        for n in 0..100_000 {
            recent.insert(id(n));
            assert!(
                recent.contains(id(n)) && recent.contains(id(n.saturating_sub(GENERATION_SIZE as u64 - 1)))
            );
        }
        assert!(!recent.contains(id(0)));
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION_SIZE);
    }
}
