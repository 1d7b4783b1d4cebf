//! Ids stored lately.

use std::collections::HashSet;

use crate::storage::message::WebhookId;

/// Ids remembered in each of two generations: half a megabyte in all.
const REMEMBERED: usize = 16 * 1024;

/// Ids stored lately, by their first eight bytes. Only a hint: the broker decides what is a duplicate,
/// and forgetting or confusing an id costs a round trip, nothing else.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Recent {
    pub fn insert(&mut self, id: WebhookId) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id.short());
    }

    pub fn contains(&self, id: WebhookId) -> bool {
        self.young.contains(&id.short()) || self.old.contains(&id.short())
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
    fn the_latest_are_remembered_within_a_bound() {
        let mut recent = Recent::default();
        for n in 0..100_000 {
            recent.insert(id(n));
            assert!(recent.contains(id(n)) && recent.contains(id(n.saturating_sub(REMEMBERED as u64 - 1))));
        }
        assert!(!recent.contains(id(0)));
        assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED);
    }
}
