//! Decides when webhooks are published: one by one, or together in an atomic batch.
//!
//! Webhooks are published one by one as they arrive while that is cheaper ([`super::cost_model`]). Otherwise
//! the first webhook opens a batch. While the broker prepares to stage the batch, more webhooks arrive and are
//! queued. When the broker acknowledges the first message, all webhooks that are queued follow, and the last
//! one commits the batch. So no webhook waits for a batch to fill.
//!
//! Pure: `arrive`, `acknowledged` and `advance` take the time as an argument. `next_publish` returns the
//! messages that the committer task has to send, and `completed` the requests that it has to answer.
//!
//! Invariants:
//! - Every request is completed exactly once, and by its deadline.
//! - A request succeeds only after the broker has acknowledged its message.
//! - While requests wait for a message, it is in flight at most once.
//! - The number of messages in flight is bounded, even if no request waits for them any more. Otherwise more
//!   and more messages would wait for a broker that hangs.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    batching::{Batching, OpenBatch},
    in_flight::{InFlight, Publish, SinglesInFlight},
    result::{PublishError, PublishResult, Stored},
    waiters::{PublishRequest, Waiters},
    wire::{self, AckId, Answer, BatchPosition, OutgoingMessage},
};
use crate::storage::recent_ids::RecentIds;

/// The broker's limit on the messages of one atomic batch.
pub const MAX_BATCH: usize = 1000;
/// Most bytes of all bodies of one batch. The second message is added whatever its size, because a batch of one
/// message saves nothing.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Single messages in flight from which on queued webhooks wait. Those of a refused batch are published all the same.
/// Together with a batch they fit into the buffer of the NATS client, so that it does not block.
const MAX_SINGLES: usize = 1000;
/// After this time an acknowledgement counts as lost, if no request waits for it.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// All requests that are queued or in flight. `W` receives the result of a request.
#[derive(Debug)]
pub struct GroupCommit<W> {
    batching: Batching,
    waiters: Waiters<W>,
    /// Keys of the webhooks that were not sent yet.
    queue: VecDeque<usize>,
    in_flight: BTreeMap<AckId, InFlight>,
    singles: SinglesInFlight,
    /// The first eight bytes of the ids of recently stored webhooks. They are only a hint, because the broker decides
    /// what is a duplicate.
    recent_ids: RecentIds<u64>,
    last_ack: u64,
    outgoing: VecDeque<OutgoingMessage>,
    refused_batches: u64,
}

impl<W> Default for GroupCommit<W> {
    fn default() -> Self {
        Self {
            batching: Batching::default(),
            waiters: Waiters::default(),
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            singles: SinglesInFlight::default(),
            recent_ids: RecentIds::default(),
            last_ack: 0,
            outgoing: VecDeque::new(),
            refused_batches: 0,
        }
    }
}

impl<W> GroupCommit<W> {
    /// Sets whether the broker supports atomic batches.
    pub fn set_supports_batches(&mut self, supports: bool) {
        self.batching.set_supported(supports);
    }

    /// Whether nothing is queued, in flight, to be sent or to be completed.
    pub fn is_idle(&self) -> bool {
        self.waiters.is_empty() && self.in_flight.is_empty() && self.outgoing.is_empty()
    }

    /// The number of webhooks that were not sent yet.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The number of batches that the broker has refused and that were then published message by message.
    pub fn refused_batches(&self) -> u64 {
        self.refused_batches
    }

    /// The next message to send.
    pub fn next_publish(&mut self) -> Option<OutgoingMessage> {
        self.outgoing.pop_front()
    }

    /// Drains the completed requests, each with its result.
    pub fn completed(&mut self) -> impl Iterator<Item = (W, PublishResult)> {
        self.waiters.completed()
    }

    /// Adds a request. If a webhook with its id was stored recently, it is published at once; otherwise
    /// [`Self::advance`] publishes it.
    pub fn arrive(&mut self, request: PublishRequest<W>, now: Instant) {
        let id = request.webhook.id;
        let Some(key) = self.waiters.add(request) else { return };
        // The broker refuses a whole batch if it already has one of the ids.
        if self.recent_ids.contains(id.short()) && self.singles.count() < MAX_SINGLES {
            self.send_single(key, now);
        } else {
            self.queue.push_back(key);
        }
    }

    /// Publishes as many queued webhooks as possible. It must be called after all other changes.
    pub fn advance(&mut self, now: Instant) {
        if self.batching.is_open() {
            return;
        }
        if self.batching.is_worthwhile(self.waiters.awaited(), now) {
            self.open_batch(now);
            return;
        }
        while self.singles.count() < MAX_SINGLES
            && let Some(key) = self.queue.pop_front()
        {
            self.send_single(key, now);
        }
    }

    /// Takes the broker's answer. An answer to a publish that was given up is ignored.
    pub fn acknowledged(&mut self, ack: AckId, answer: Answer, now: Instant) {
        let Some(InFlight { publish, .. }) = self.in_flight.remove(&ack) else { return };
        let batch = self.batching.take(ack);
        match publish {
            Publish::Single(key) => self.single_acknowledged(key, answer, now),
            Publish::BatchOpening(key) => self.opening_acknowledged(key, batch, answer, now),
            Publish::BatchCommit(keys) => self.commit_acknowledged(keys, batch, answer, now),
        }
    }

    /// Fails all requests, because the connection to the broker was lost. The broker may have stored the
    /// messages in flight, but their acknowledgements will not arrive.
    pub fn connection_lost(&mut self) {
        self.outgoing.clear();
        self.in_flight.clear();
        self.singles = SinglesInFlight::default();
        self.batching.reset();
        for key in std::mem::take(&mut self.queue) {
            self.waiters.complete(key, Err(PublishError::Disconnected));
        }
        self.waiters.fail_all(PublishError::ConnectionLost);
    }

    /// Completes all requests whose deadline has passed, and gives up what no request waits for any more.
    pub fn expire(&mut self, now: Instant) {
        let waiters = &mut self.waiters;
        self.queue.retain(|&key| {
            waiters.expire(key, now, PublishError::Expired);
            let is_awaited = waiters.is_any_awaited(&[key]);
            if !is_awaited {
                waiters.remove(key);
            }
            is_awaited
        });
        for in_flight in self.in_flight.values() {
            for &key in in_flight.publish.keys() {
                waiters.expire(key, now, PublishError::TimedOut);
            }
        }
        self.abandon_batch();
        self.give_up_unacknowledged(now);
    }

    /// Stops waiting for the open batch if no request waits for it, so that it does not delay the next one.
    fn abandon_batch(&mut self) {
        let Some(ack) = self.batching.awaited_ack() else { return };
        let in_flight = self.in_flight.get(&ack);
        if !in_flight.is_some_and(|in_flight| self.waiters.is_any_awaited(in_flight.publish.keys())) {
            self.batching.abandon();
        }
    }

    /// Forgets the publishes whose acknowledgement is overdue and that no request waits for.
    fn give_up_unacknowledged(&mut self, now: Instant) {
        let waiters = &self.waiters;
        let is_overdue = |_: &AckId, in_flight: &mut InFlight| {
            now.saturating_duration_since(in_flight.sent_at) > ACK_TIMEOUT
                && !waiters.is_any_awaited(in_flight.publish.keys())
        };
        let overdue: Vec<_> = self.in_flight.extract_if(.., is_overdue).collect();
        for (_, InFlight { publish, .. }) in overdue {
            if let Publish::Single(_) = publish {
                self.singles.given_up();
            }
            for &key in publish.keys() {
                self.waiters.remove(key);
            }
        }
    }

    fn next_ack(&mut self) -> AckId {
        self.last_ack += 1;
        AckId(self.last_ack)
    }

    fn send(&mut self, key: usize, ack: Option<AckId>, position: Option<BatchPosition>) {
        let webhook = self.waiters.webhook(key).clone();
        self.outgoing.push_back(OutgoingMessage { webhook, ack, position });
    }

    fn send_single(&mut self, key: usize, now: Instant) {
        let ack = self.next_ack();
        self.singles.sent(now);
        self.in_flight.insert(ack, InFlight { publish: Publish::Single(key), sent_at: now });
        self.send(key, Some(ack), None);
    }

    /// Sends the first message of a batch. The broker needs some time before it can stage the others.
    fn open_batch(&mut self, now: Instant) {
        let Some(key) = self.queue.pop_front() else { return };
        let ack = self.next_ack();
        let batch = self.batching.open(ack, self.singles.count() > 0, now).number;
        self.in_flight.insert(ack, InFlight { publish: Publish::BatchOpening(key), sent_at: now });
        self.send(key, Some(ack), Some(BatchPosition { batch, sequence: 1, commits: false }));
    }

    /// Sends the other messages of the batch, as many as fit, and commits it with the last one.
    fn commit_batch(&mut self, batch: OpenBatch, first: usize, now: Instant) {
        let mut bytes = self.waiters.webhook(first).body.len();
        let fits = |key: &&usize| {
            bytes = bytes.saturating_add(self.waiters.webhook(**key).body.len());
            bytes <= MAX_BATCH_BYTES
        };
        let fitting = self.queue.iter().take(MAX_BATCH - 1).take_while(fits).count().max(1);
        let keys: Vec<_> = std::iter::once(first).chain(self.queue.drain(..fitting)).collect();
        let ack = self.next_ack();
        for (sequence, &key) in (1..).zip(&keys).skip(1) {
            let commits = sequence == keys.len();
            let position = BatchPosition { batch: batch.number, sequence, commits };
            self.send(key, commits.then_some(ack), Some(position));
        }
        self.batching.await_commit(batch, ack);
        self.in_flight.insert(ack, InFlight { publish: Publish::BatchCommit(keys), sent_at: now });
    }

    fn single_acknowledged(&mut self, key: usize, answer: Answer, now: Instant) {
        let took = self.singles.acknowledged(now);
        let result = match answer {
            Answer::Stored { sequence, duplicate, .. } => {
                if let Some(took) = took {
                    self.batching.observe_single(took);
                }
                Ok(Stored { sequence, duplicate })
            }
            Answer::NoStream => Err(PublishError::NoStream),
            Answer::Refused(code) => Err(PublishError::Refused(code)),
            Answer::Staged | Answer::Garbled => Err(PublishError::Garbled),
        };
        self.complete(key, result);
    }

    fn opening_acknowledged(&mut self, key: usize, batch: Option<OpenBatch>, answer: Answer, now: Instant) {
        match (batch, answer) {
            // The batch was abandoned: no request waits for its first webhook.
            (None, _) => self.waiters.remove(key),
            (Some(batch), Answer::Staged) if !self.queue.is_empty() => self.commit_batch(batch, key, now),
            // No other webhook has arrived, so a batch would save nothing. The broker drops a batch that is not
            // committed.
            (Some(_), Answer::Staged) => self.send_single(key, now),
            (Some(_), Answer::Stored { .. } | Answer::NoStream | Answer::Refused(_) | Answer::Garbled) => {
                self.batching.pause(now);
                self.refused_batches += 1;
                self.send_single(key, now);
            }
        }
    }

    fn commit_acknowledged(
        &mut self,
        keys: Vec<usize>,
        batch: Option<OpenBatch>,
        answer: Answer,
        now: Instant,
    ) {
        match answer {
            Answer::Stored { sequence, count, .. } if count == keys.len() => {
                if let Some(batch) = batch {
                    self.batching.observe_batch(batch, count, now);
                }
                for (n, key) in keys.into_iter().enumerate() {
                    let sequence = wire::sequence_in_batch(sequence, count, n);
                    self.complete(key, Ok(Stored { sequence, duplicate: false }));
                }
            }
            Answer::NoStream => {
                for key in keys {
                    self.complete(key, Err(PublishError::NoStream));
                }
            }
            Answer::Stored { .. } | Answer::Refused(_) | Answer::Staged | Answer::Garbled => {
                self.publish_again_singly(keys, now);
            }
        }
    }

    /// Publishes the messages of a batch one by one, because the broker refused it or its answer cannot be used. The
    /// broker then answers each of them. It recognizes those that it has stored as duplicates.
    fn publish_again_singly(&mut self, keys: Vec<usize>, now: Instant) {
        self.refused_batches += 1;
        for key in keys {
            if self.waiters.is_any_awaited(&[key]) {
                self.send_single(key, now);
            } else {
                self.waiters.remove(key);
            }
        }
    }

    fn complete(&mut self, key: usize, result: PublishResult) {
        if result.is_ok() {
            self.recent_ids.insert(self.waiters.webhook(key).id.short());
        }
        self.waiters.complete(key, result);
    }
}

#[cfg(test)]
mod tests;
