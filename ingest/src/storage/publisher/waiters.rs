//! Who waits for which webhook.
//!
//! Invariants: who waits is told exactly once; webhooks of one id that somebody waits for are one.

use std::{collections::HashMap, sync::Arc, time::Instant};

use slab::Slab;

use super::{
    PublishError, Stored, Webhook,
    commits::{Entry, Outcome},
};
use crate::storage::message::WebhookId;

/// A webhook, and everyone who waits for it. There until no answer can come for it any more.
#[derive(Debug)]
struct Slot<W> {
    webhook: Arc<Webhook>,
    /// The first posted it; the others posted the same bytes meanwhile.
    waiters: Vec<(Instant, W)>,
}

/// Webhooks by key, those that somebody waits for by id, and whom to tell what.
#[derive(Debug)]
pub(super) struct Waiters<W> {
    slots: Slab<Slot<W>>,
    places: HashMap<WebhookId, usize>,
    told: Vec<(W, Outcome)>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self { slots: Slab::new(), places: HashMap::new(), told: Vec::new() }
    }
}

impl<W> Waiters<W> {
    /// Whether no webhook is here and nobody is to be told anything.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.told.is_empty()
    }

    /// Webhooks, whether or not somebody waits for them.
    #[cfg(test)]
    pub fn webhooks(&self) -> usize {
        self.slots.len()
    }

    /// Webhooks that somebody waits for.
    pub fn waited_for(&self) -> usize {
        self.places.len()
    }

    /// Whom to tell what, once.
    pub fn told(&mut self) -> impl Iterator<Item = (W, Outcome)> {
        self.told.drain(..)
    }

    /// Takes in who waits; the key of the webhook, unless it is here already.
    pub fn join(&mut self, Entry { webhook, deadline, waiter }: Entry<W>) -> Option<usize> {
        if let Some(&key) = self.places.get(&webhook.id) {
            self.slots[key].waiters.push((deadline, waiter));
            return None;
        }
        let id = webhook.id;
        let key = self.slots.insert(Slot { webhook, waiters: vec![(deadline, waiter)] });
        self.places.insert(id, key);
        Some(key)
    }

    pub fn webhook(&self, key: usize) -> &Arc<Webhook> {
        &self.slots[key].webhook
    }

    /// Whether anybody waits for one of these.
    pub fn wait_for(&self, keys: &[usize]) -> bool {
        keys.iter().any(|&key| !self.slots[key].waiters.is_empty())
    }

    /// Tells everyone who waits for the webhook, which is done with.
    pub fn tell(&mut self, key: usize, outcome: Outcome) {
        let Slot { webhook, waiters } = self.slots.remove(key);
        self.leave(webhook.id, key);
        let again = outcome.map(|stored| Stored { duplicate: true, ..stored });
        let outcomes = std::iter::once(outcome).chain(std::iter::repeat(again));
        self.told.extend(waiters.into_iter().zip(outcomes).map(|((_, waiter), outcome)| (waiter, outcome)));
    }

    /// Lets go of a webhook that nobody waits for.
    pub fn forget(&mut self, key: usize) {
        let slot = self.slots.remove(key);
        self.leave(slot.webhook.id, key);
    }

    /// Tells those whose time is up. The webhook stays here.
    pub fn expire(&mut self, key: usize, now: Instant, error: PublishError) {
        let slot = &mut self.slots[key];
        let told = slot.waiters.extract_if(.., |(deadline, _)| *deadline <= now);
        self.told.extend(told.map(|(_, waiter)| (waiter, Err(error))));
        if slot.waiters.is_empty() {
            // Who posts it again is not to wait for an answer that may be lost.
            let id = slot.webhook.id;
            self.leave(id, key);
        }
    }

    /// Tells everyone; no webhook is here any more.
    pub fn give_up(&mut self, error: PublishError) {
        self.places.clear();
        let waiters = self.slots.drain().flat_map(|slot| slot.waiters);
        self.told.extend(waiters.map(|(_, waiter)| (waiter, Err(error))));
    }

    /// Nobody waits at this place any more. It may be another's: the same bytes may have come again since.
    fn leave(&mut self, id: WebhookId, key: usize) {
        if self.places.get(&id) == Some(&key) {
            self.places.remove(&id);
        }
    }
}
