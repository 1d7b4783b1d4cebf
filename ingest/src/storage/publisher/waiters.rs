//! The requests that wait for the result of a publish, grouped by webhook.
//!
//! Invariants:
//! - Every waiter is completed exactly once.
//! - Requests with the same webhook id share one entry as long as one of them waits.

use std::{collections::HashMap, sync::Arc, time::Instant};

use slab::Slab;

use super::result::{PublishError, PublishResult, Stored};
use crate::storage::message::{Webhook, WebhookId};

/// A webhook to publish, and the waiter for its result.
#[derive(Debug)]
pub struct PublishRequest<W> {
    /// The webhook.
    pub webhook: Arc<Webhook>,
    /// The time at which the sender must have an answer.
    pub deadline: Instant,
    /// Receives the result.
    pub waiter: W,
}

/// A webhook with all requests that wait for it. It is removed when no answer of the broker can come any
/// more.
#[derive(Debug)]
struct Entry<W> {
    webhook: Arc<Webhook>,
    /// The first waiter's request brought the webhook. The others posted the same bytes later.
    waiters: Vec<(Instant, W)>,
}

/// All webhooks that are queued or in flight, and the results that were not drained yet.
#[derive(Debug)]
pub(super) struct Waiters<W> {
    entries: Slab<Entry<W>>,
    /// The keys of the webhooks that have a waiter.
    keys: HashMap<WebhookId, usize>,
    completed: Vec<(W, PublishResult)>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self { entries: Slab::new(), keys: HashMap::new(), completed: Vec::new() }
    }
}

impl<W> Waiters<W> {
    /// Whether there is no webhook and no result to drain.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.completed.is_empty()
    }

    /// The number of webhooks, with and without waiters.
    #[cfg(test)]
    pub fn webhooks(&self) -> usize {
        self.entries.len()
    }

    /// The number of webhooks that have a waiter.
    pub fn awaited(&self) -> usize {
        self.keys.len()
    }

    /// Drains the completed waiters, each with its result.
    pub fn completed(&mut self) -> impl Iterator<Item = (W, PublishResult)> {
        self.completed.drain(..)
    }

    /// Adds a request. Returns the key of its webhook if the webhook is new.
    pub fn add(&mut self, PublishRequest { webhook, deadline, waiter }: PublishRequest<W>) -> Option<usize> {
        if let Some(&key) = self.keys.get(&webhook.id) {
            self.entries[key].waiters.push((deadline, waiter));
            return None;
        }
        let id = webhook.id;
        let key = self.entries.insert(Entry { webhook, waiters: vec![(deadline, waiter)] });
        self.keys.insert(id, key);
        Some(key)
    }

    pub fn webhook(&self, key: usize) -> &Arc<Webhook> {
        &self.entries[key].webhook
    }

    /// Whether one of these webhooks has a waiter.
    pub fn is_any_awaited(&self, keys: &[usize]) -> bool {
        keys.iter().any(|&key| !self.entries[key].waiters.is_empty())
    }

    /// Completes all waiters of the webhook and removes it. For all but the first waiter the webhook is a
    /// duplicate.
    pub fn complete(&mut self, key: usize, result: PublishResult) {
        let Entry { webhook, waiters } = self.entries.remove(key);
        self.remove_key(webhook.id, key);
        let repeated = result.map(|stored| Stored { duplicate: true, ..stored });
        let results = std::iter::once(result).chain(std::iter::repeat(repeated));
        self.completed.extend(waiters.into_iter().zip(results).map(|((_, waiter), result)| (waiter, result)));
    }

    /// Removes a webhook that has no waiter.
    pub fn remove(&mut self, key: usize) {
        let entry = self.entries.remove(key);
        self.remove_key(entry.webhook.id, key);
    }

    /// Completes the waiters of the webhook whose deadline has passed. The webhook stays, because an answer
    /// can still come for it.
    pub fn expire(&mut self, key: usize, now: Instant, error: PublishError) {
        let entry = &mut self.entries[key];
        let expired = entry.waiters.extract_if(.., |(deadline, _)| *deadline <= now);
        self.completed.extend(expired.map(|(_, waiter)| (waiter, Err(error))));
        if entry.waiters.is_empty() {
            // A new request for the same id gets a new entry, because the answer for this one may be lost.
            let id = entry.webhook.id;
            self.remove_key(id, key);
        }
    }

    /// Completes all waiters with `error` and removes all webhooks.
    pub fn fail_all(&mut self, error: PublishError) {
        self.keys.clear();
        let waiters = self.entries.drain().flat_map(|entry| entry.waiters);
        self.completed.extend(waiters.map(|(_, waiter)| (waiter, Err(error))));
    }

    /// Removes the id if it still belongs to `key`. A later request for the same id may have a new key.
    fn remove_key(&mut self, id: WebhookId, key: usize) {
        if self.keys.get(&id) == Some(&key) {
            self.keys.remove(&id);
        }
    }
}
