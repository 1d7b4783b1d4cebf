//! The commit core: which webhooks go to the broker when, and what its answers mean for who waits. Pure:
//! it is told what happens and when, and tells what to send and whom to answer what.
//!
//! Webhooks go singly as they come while that is cheaper ([`Pace`]). Otherwise the first of a batch is sent
//! to open it, more arrive while the broker prepares to stage them, and when it says that it has, all that
//! are there follow and commit. So nothing waits for a batch to fill.
//!
//! Invariants: who waits is told exactly once, and by the deadline; `Ok` only what the broker has
//! acknowledged; one id is on its way once; what is sent and not answered is bounded, even where nobody
//! waits for it any more, lest a broker that hangs be buried under what it will store late.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    PublishError, Stored, Webhook,
    cost_model::Pace,
    recent_ids::Recent,
    waiters::Waiters,
    wire::{self, Answer},
};

/// The broker's limit on the messages of one atomic batch.
pub const MAX_BATCH: usize = 1000;
/// Most bytes of one batch; a single larger message still goes.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Single messages on their way at a time. With a batch, less than the NATS client takes before it blocks.
const MAX_SINGLES: usize = 1000;
/// No batches for so long after the broker refused to open one.
const REST: Duration = Duration::from_secs(10);
/// An answer that has not come by then never will.
const FORGET: Duration = Duration::from_secs(30);

/// What became of a webhook.
pub type Outcome = Result<Stored, PublishError>;

/// A webhook in line, and who waits for it.
#[derive(Debug)]
pub struct Entry<W> {
    /// The webhook.
    pub webhook: Arc<Webhook>,
    /// When its sender has to have an answer.
    pub deadline: Instant,
    /// Whom to tell.
    pub waiter: W,
}

/// One message to send, right after those before it.
#[derive(Debug)]
pub struct Order {
    /// What it carries.
    pub webhook: Arc<Webhook>,
    /// The number its answer has to name; none where no answer is wanted.
    pub number: Option<u64>,
    /// Its place in a batch.
    pub place: Option<Place>,
}

/// The place of a message in an atomic batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the batch.
    pub batch: u64,
    /// From 1.
    pub n: usize,
    /// Whether it commits the batch.
    pub commits: bool,
}

/// What was sent under one number, and when.
#[derive(Debug)]
struct Flight {
    sent: Sent,
    at: Instant,
}

#[derive(Debug)]
enum Sent {
    Single(usize),
    /// The first message of a batch.
    Opening(usize),
    /// The last message of a batch, of all of which these are the slots.
    Closing(Vec<usize>),
}

/// The batch that is being staged or committed.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// When it could have been opened at the earliest. None: the broker had single messages to store before,
    /// so its time says nothing.
    began: Option<Instant>,
    /// Number of the answer that is waited for.
    number: u64,
}

/// Senders that were answered together, and until when as many are likely to come again.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    senders: usize,
    since: Instant,
    until: Instant,
}

/// Everything that waits or is on its way. `W` is whatever tells who waits.
#[derive(Debug)]
pub struct Commits<W> {
    waiters: Waiters<W>,
    /// Keys of those that were not sent yet.
    line: VecDeque<usize>,
    flights: BTreeMap<u64, Flight>,
    singles: usize,
    batch: Option<Batch>,
    /// Whether the broker takes batches, and from when on it is worth asking.
    takes_batches: bool,
    resting_until: Option<Instant>,
    crowd: Option<Crowd>,
    pace: Pace,
    /// From when on the broker has had single messages to store since the last of them, and whether there
    /// were several at a time since it had none: one by itself takes mostly the way there and back.
    last_single: Option<Instant>,
    several: bool,
    recent: Recent,
    next: u64,
    orders: VecDeque<Order>,
    refused: u64,
}

impl<W> Default for Commits<W> {
    fn default() -> Self {
        Self {
            waiters: Waiters::default(),
            line: VecDeque::new(),
            flights: BTreeMap::new(),
            singles: 0,
            batch: None,
            takes_batches: false,
            resting_until: None,
            crowd: None,
            pace: Pace::default(),
            last_single: None,
            several: false,
            recent: Recent::default(),
            next: 0,
            orders: VecDeque::new(),
            refused: 0,
        }
    }
}

impl<W> Commits<W> {
    /// Whether the broker takes atomic batches.
    pub fn set_takes_batches(&mut self, takes: bool) {
        self.takes_batches = takes;
    }

    /// Whether nothing waits, is on its way, or is to be sent or told.
    pub fn is_idle(&self) -> bool {
        self.waiters.is_empty() && self.flights.is_empty() && self.orders.is_empty()
    }

    /// Webhooks that were not sent yet.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Messages that were sent and not answered yet.
    pub fn unanswered(&self) -> usize {
        self.flights.len()
    }

    /// Batches that came back as single messages.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next message to send.
    pub fn order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whom to tell what. Nobody is told twice.
    pub fn told(&mut self) -> impl Iterator<Item = (W, Outcome)> {
        self.waiters.told()
    }

    /// Takes a webhook in. [`Self::advance`] sends it.
    pub fn arrive(&mut self, entry: Entry<W>, now: Instant) {
        let id = entry.webhook.id;
        let Some(key) = self.waiters.join(entry) else { return };
        // A batch with one id that the broker knows is refused whole.
        if self.recent.contains(id) && self.singles < MAX_SINGLES {
            self.send_single(key, now);
        } else {
            self.line.push_back(key);
        }
    }

    /// Sends what is to be sent by now, after whatever else was told.
    pub fn advance(&mut self, now: Instant) {
        if self.batch.is_some() {
            return; // What arrives meanwhile is the next.
        }
        let likely = self.crowd(now).map_or(0, |crowd| crowd.senders).max(self.waiters.waited_for());
        let rests = self.resting_until.is_some_and(|until| now < until);
        if self.takes_batches && !rests && likely > 1 && self.pace.prefers_batch(likely) {
            self.open(now);
            return;
        }
        while self.singles < MAX_SINGLES
            && let Some(key) = self.line.pop_front()
        {
            self.send_single(key, now);
        }
    }

    /// The broker's answer to what was sent under `number`. One that is not waited for changes nothing.
    pub fn answered(&mut self, number: u64, answer: Answer, now: Instant) {
        let Some(Flight { sent, .. }) = self.flights.remove(&number) else { return };
        let batch = self.batch.take_if(|batch| batch.number == number);
        match sent {
            Sent::Single(key) => {
                self.singles -= 1;
                self.conclude_single(key, answer, now);
            }
            Sent::Opening(key) => match (batch, answer) {
                (Some(batch), Answer::Staged) if !self.line.is_empty() => self.close(batch, key, now),
                // Nobody waits for the first any more, or nobody came to follow it.
                (None, _) => self.waiters.forget(key),
                (Some(_), Answer::Staged) => self.send_single(key, now),
                (Some(_), _) => {
                    self.resting_until = Some(now + REST);
                    self.refused += 1;
                    self.send_single(key, now);
                }
            },
            Sent::Closing(keys) => self.conclude_batch(keys, batch, answer, now),
        }
    }

    /// The connection to the broker broke: no answer will come to what was sent, though it may be stored.
    pub fn lost(&mut self) {
        self.orders.clear();
        self.flights.clear();
        (self.batch, self.last_single, self.resting_until, self.crowd) = (None, None, None, None);
        self.singles = 0;
        self.pace = Pace::default(); // It may come back with other settings.
        for key in std::mem::take(&mut self.line) {
            self.waiters.tell(key, Err(PublishError::Disconnected));
        }
        self.waiters.give_up(PublishError::ConnectionLost);
    }

    /// Tells everyone whose time is up.
    pub fn expire(&mut self, now: Instant) {
        let waiters = &mut self.waiters;
        self.line.retain(|&key| {
            waiters.expire(key, now, PublishError::Expired);
            let stays = waiters.wait_for(&[key]);
            if !stays {
                waiters.forget(key);
            }
            stays
        });
        for flight in self.flights.values() {
            flight.sent.keys().iter().for_each(|&key| waiters.expire(key, now, PublishError::TimedOut));
        }
        let waits = |flight: &Flight| waiters.wait_for(flight.sent.keys());
        // A batch that nobody waits for any more holds up nobody.
        self.batch.take_if(|batch| !self.flights.get(&batch.number).is_some_and(waits));
        let never = |flight: &mut Flight| now.saturating_duration_since(flight.at) > FORGET && !waits(flight);
        let forgotten: Vec<_> = self.flights.extract_if(.., |_, flight| never(flight)).collect();
        for (_, flight) in forgotten {
            self.singles -= usize::from(matches!(flight.sent, Sent::Single(_)));
            flight.sent.keys().iter().for_each(|&key| self.waiters.forget(key));
        }
        self.last_single.take_if(|_| self.singles == 0);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn send_single(&mut self, key: usize, now: Instant) {
        let number = self.number();
        self.several = self.singles > 0;
        self.last_single.get_or_insert(now);
        self.singles += 1;
        self.flights.insert(number, Flight { sent: Sent::Single(key), at: now });
        let webhook = self.waiters.webhook(key).clone();
        self.orders.push_back(Order { webhook, number: Some(number), place: None });
    }

    fn crowd(&self, now: Instant) -> Option<Crowd> {
        self.crowd.filter(|crowd| now < crowd.until)
    }

    /// Sends the first message of a batch: the broker takes a while to prepare for the others.
    fn open(&mut self, now: Instant) {
        let Some(key) = self.line.pop_front() else { return };
        let number = self.number();
        let began = (self.singles == 0).then(|| self.crowd(now).map_or(now, |crowd| crowd.since));
        self.batch = Some(Batch { began, number });
        self.flights.insert(number, Flight { sent: Sent::Opening(key), at: now });
        let place = Place { batch: number, n: 1, commits: false };
        let webhook = self.waiters.webhook(key).clone();
        self.orders.push_back(Order { webhook, number: Some(number), place: Some(place) });
    }

    /// Sends the others, as many as fit, and commits.
    fn close(&mut self, batch: Batch, first: usize, now: Instant) {
        let mut bytes = self.waiters.webhook(first).body.len();
        let fits = |key: &&usize| {
            bytes = bytes.saturating_add(self.waiters.webhook(**key).body.len());
            bytes <= MAX_BATCH_BYTES
        };
        let fitting = self.line.iter().take(MAX_BATCH - 1).take_while(fits).count().max(1);
        let keys: Vec<_> = std::iter::once(first).chain(self.line.drain(..fitting)).collect();
        let number = self.number();
        for (n, &key) in (1..).zip(&keys).skip(1) {
            let commits = n == keys.len();
            let place = Some(Place { batch: batch.number, n, commits });
            let webhook = self.waiters.webhook(key).clone();
            self.orders.push_back(Order { webhook, number: commits.then_some(number), place });
        }
        self.batch = Some(Batch { number, ..batch });
        self.flights.insert(number, Flight { sent: Sent::Closing(keys), at: now });
    }

    fn conclude_single(&mut self, key: usize, answer: Answer, now: Instant) {
        let outcome = match answer {
            Answer::Stored { sequence, duplicate, .. } => {
                if let Some(last) = self.last_single
                    && self.several
                    && self.batch.is_none()
                {
                    self.pace.single(now.saturating_duration_since(last));
                }
                Ok(Stored { sequence, duplicate })
            }
            Answer::NoStream => Err(PublishError::NoStream),
            Answer::Refused(code) => Err(PublishError::Refused(code)),
            Answer::Staged | Answer::Garbled => Err(PublishError::Garbled),
        };
        self.last_single = (self.singles > 0).then_some(now);
        self.tell(key, outcome);
    }

    /// A refused batch goes again as single messages, for each of which the broker then gives its own
    /// answer. Nothing of a refused batch is stored.
    fn conclude_batch(&mut self, keys: Vec<usize>, batch: Option<Batch>, answer: Answer, now: Instant) {
        match answer {
            Answer::Stored { sequence, count, .. } if count == keys.len() => {
                if let Some(Batch { began: Some(began), .. }) = batch {
                    let took = now.saturating_duration_since(began);
                    self.pace.batch(count, took);
                    self.crowd = Some(Crowd { senders: count, since: now, until: now + took });
                }
                for (n, key) in keys.into_iter().enumerate() {
                    let sequence = wire::sequence_in_batch(sequence, count, n);
                    self.tell(key, Ok(Stored { sequence, duplicate: false }));
                }
            }
            Answer::NoStream => keys.into_iter().for_each(|key| self.tell(key, Err(PublishError::NoStream))),
            Answer::Stored { .. } | Answer::Refused(_) | Answer::Staged | Answer::Garbled => {
                self.refused += 1;
                for key in keys {
                    if self.waiters.wait_for(&[key]) {
                        self.send_single(key, now);
                    } else {
                        self.waiters.forget(key);
                    }
                }
            }
        }
    }

    fn tell(&mut self, key: usize, outcome: Outcome) {
        if outcome.is_ok() {
            self.recent.insert(self.waiters.webhook(key).id);
        }
        self.waiters.tell(key, outcome);
    }
}

impl Sent {
    fn keys(&self) -> &[usize] {
        match self {
            Self::Single(key) | Self::Opening(key) => std::slice::from_ref(key),
            Self::Closing(keys) => keys,
        }
    }
}

#[cfg(test)]
mod tests;
