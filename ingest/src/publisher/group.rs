//! How waiting webhooks become commits: pure decisions, time is an argument.
//!
//! Invariant: every entry ends in exactly one place of a [`Plan`], and the same id is sent once.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::Arc,
};

use tokio::{sync::oneshot, time::Instant};

use super::{PublishError, Stored, Webhook};
use crate::message::WebhookId;

/// The broker's limit on the messages of one atomic batch.
pub(super) const MAX_MESSAGES: usize = 1000;
/// Most bytes of one group; a single larger message still goes, alone.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Smaller groups are published one by one, all in flight together.
///
/// A batch costs the broker some 4 ms whatever its size, for it is staged in a store of its own (8
/// connections: p50 4 to 5 ms with batches, under either sync setting); a single publish under
/// `sync_interval: always` costs about 130 µs (7.4k to 8k/s), so the two meet near 30 messages.
///
/// Measured with nats-server 2.15.1 on two cores shared with other builds, so roughly. Thresholds 4,
/// 16, 32 and never, in turn, three rounds, medians in webhooks/s: at 256 connections 7.5k, 6.4k, 8.7k
/// and 4.5k; at 64 5.4k, 3.3k, 5.8k and 4.4k; at 32 no difference beyond the noise. So batches pay for
/// large groups and cost for small ones, but which of 16 and 32 is better was not resolved (rounds of
/// one setting differed threefold). At the default sync interval single publishes won at every size
/// tried (23k against 12k/s at 256, one round): a threshold that learns would serve both.
pub(super) const SMALLEST_BATCH: usize = 32;
/// Ids remembered as stored, in each of two generations: half a megabyte in all.
const REMEMBERED: usize = 16 * 1024;

pub(super) type Outcome = Result<Stored, PublishError>;

/// A webhook in line.
#[derive(Debug)]
pub(super) struct Entry {
    pub webhook: Arc<Webhook>,
    pub deadline: Instant,
    pub reply: oneshot::Sender<Outcome>,
}

/// One message to send, and everyone who waits for it.
#[derive(Debug)]
pub(super) struct Slot {
    pub webhook: Arc<Webhook>,
    pub deadline: Instant,
    reply: oneshot::Sender<Outcome>,
    /// Who posted the same bytes while the first waited.
    others: Vec<oneshot::Sender<Outcome>>,
}

impl Slot {
    /// Tells everyone. Who has left is not waited for.
    pub fn answer(self, outcome: Outcome) {
        for other in self.others {
            let _left = other.send(outcome.map(|stored| Stored { duplicate: true, ..stored }));
        }
        let _left = self.reply.send(outcome);
    }
}

/// What to do with a group.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To go as one atomic batch; empty or at least two.
    pub batch: Vec<Slot>,
    /// To go one by one, all in flight together.
    pub singles: Vec<Slot>,
    /// Past their deadline: not to be sent.
    pub expired: Vec<Entry>,
}

/// Sorts a group; fewer than `smallest_batch` messages go singly, for a broker without batches any
/// number of them.
///
/// A batch with one id that the broker knows is refused whole, so ids that we remember go singly.
pub(super) fn plan(
    entries: impl IntoIterator<Item = Entry>,
    now: Instant,
    smallest_batch: usize,
    recent: &Recent,
) -> Plan {
    let mut plan = Plan::default();
    let mut slots: Vec<Slot> = Vec::new();
    let mut places: HashMap<WebhookId, usize> = HashMap::new();
    for entry in entries {
        if entry.deadline <= now {
            plan.expired.push(entry);
            continue;
        }
        let Entry { webhook, deadline, reply } = entry;
        match places.entry(webhook.id) {
            hash_map::Entry::Occupied(place) => {
                let slot = &mut slots[*place.get()];
                slot.deadline = slot.deadline.max(deadline);
                slot.others.push(reply);
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(slots.len());
                slots.push(Slot { webhook, deadline, reply, others: Vec::new() });
            }
        }
    }
    (plan.singles, plan.batch) = slots.into_iter().partition(|slot| recent.contains(slot.webhook.id));
    if plan.batch.len() < smallest_batch {
        plan.singles.append(&mut plan.batch);
    }
    plan
}

/// How many of the first webhooks, by the sizes of their bodies, make one group.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0_usize;
    let within = sizes.take(MAX_MESSAGES).take_while(|size| {
        total = total.saturating_add(*size);
        total <= MAX_BYTES
    });
    within.count().max(1)
}

/// Ids stored lately, by their first eight bytes. Only a hint for [`plan`]: the broker decides what
/// is a duplicate, and forgetting or confusing an id costs a round trip, nothing else.
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

    fn contains(&self, id: WebhookId) -> bool {
        self.young.contains(&id.short()) || self.old.contains(&id.short())
    }
}

#[cfg(test)]
mod tests;
