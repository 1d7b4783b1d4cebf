//! The model of `JetStream`: stored messages, deliveries and scheduled jobs. Its behaviour at failures is the
//! measured behaviour of nats-server 2.15.1.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aftercall_common::contract::streams::ACK_WAIT;
use aftercall_ingest::storage::publisher::wire::{Answer, BatchPosition, OutgoingMessage};
use bytes::Bytes;
use jiff::Timestamp;

/// Error code: the stream is full.
const FULL: u64 = 10_077;
/// Error code: a batch contains an id that is stored already.
const DUPLICATE_IN_BATCH: u64 = 10_201;
/// Error code: messages of a batch are missing.
const INCOMPLETE: u64 = 10_176;

/// A stored webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub id: String,
    pub body: Bytes,
    pub stored_at: Timestamp,
}

/// State of a message at its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Is delivered from this time on.
    Pending(Timestamp),
    /// Is delivered; becomes pending again at this time.
    Delivered(Timestamp),
    /// Was acknowledged or terminated at this time.
    Acknowledged(Timestamp),
}

/// State of a message, and the number of its deliveries.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub state: State,
    pub delivered: i64,
}

impl Delivery {
    fn new(now: Timestamp) -> Self {
        Self { state: State::Pending(now), delivered: 0 }
    }

    pub fn is_acknowledged(&self) -> bool {
        matches!(self.state, State::Acknowledged(_))
    }
}

/// The state of the broker.
#[derive(Debug, Default)]
pub struct Broker {
    pub webhooks: Vec<Webhook>,
    ids: BTreeMap<String, usize>,
    pub status: Vec<Delivery>,
    /// Batches that were opened and not committed, by their numbers.
    staged: BTreeMap<u64, Vec<(String, Bytes)>>,
    /// Bodies of jobs that are due.
    pub jobs: Vec<Bytes>,
    pub transcripts: Vec<Delivery>,
    job_ids: BTreeSet<String>,
    /// Scheduled jobs, by conversation: when each becomes due, and its body.
    pub scheduled: BTreeMap<String, (Timestamp, Bytes)>,
    /// Conversations that have had a job.
    pub owed: BTreeSet<String>,
    /// Reasons of the dead letters, by their ids.
    pub dead: BTreeMap<String, &'static str>,
    /// Number of the current connection. A crash begins a new one.
    pub connection: u64,
    /// The broker accepts no connection before this time.
    pub away_until: Option<Timestamp>,
    /// The broker does nothing before this time.
    pub frozen_until: Option<Timestamp>,
}

impl Broker {
    pub fn is_away(&self, now: Timestamp) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }

    /// Handles one publish of the gateway, and returns the answer.
    pub fn publish(&mut self, message: &OutgoingMessage, refuses: bool, now: Timestamp) -> Answer {
        let (id, body) = (message.webhook.id.to_string(), message.webhook.body.whole());
        match message.position {
            None if refuses => Answer::Refused(FULL),
            None => self.store(id, body, now),
            Some(BatchPosition { batch, sequence: 1, .. }) if refuses => {
                self.staged.remove(&batch);
                Answer::Refused(FULL)
            }
            Some(BatchPosition { batch, sequence, commits }) => {
                let staged = self.staged.entry(batch).or_default();
                if staged.len() + 1 != sequence {
                    self.staged.remove(&batch);
                    return Answer::Refused(INCOMPLETE);
                }
                staged.push((id, body));
                if commits { self.commit(batch, refuses, now) } else { Answer::Staged }
            }
        }
    }

    fn commit(&mut self, batch: u64, refuses: bool, now: Timestamp) -> Answer {
        let staged = self.staged.remove(&batch).unwrap_or_default();
        if refuses {
            return Answer::Refused(FULL);
        }
        let mut seen = BTreeSet::new();
        if staged.iter().any(|(id, _)| self.ids.contains_key(id) || !seen.insert(id)) {
            return Answer::Refused(DUPLICATE_IN_BATCH);
        }
        let count = staged.len();
        let mut sequence = 0;
        for (id, body) in staged {
            if let Answer::Stored { sequence: of_this, .. } = self.store(id, body, now) {
                sequence = of_this;
            }
        }
        Answer::Stored { sequence, duplicate: false, count }
    }

    fn store(&mut self, id: String, body: Bytes, now: Timestamp) -> Answer {
        if let Some(&known) = self.ids.get(&id) {
            return Answer::Stored { sequence: known as u64 + 1, duplicate: true, count: 1 };
        }
        self.ids.insert(id.clone(), self.webhooks.len());
        self.webhooks.push(Webhook { id, body, stored_at: now });
        self.status.push(Delivery::new(now));
        Answer::Stored { sequence: self.webhooks.len() as u64, duplicate: false, count: 1 }
    }

    /// Whether a webhook is stored under `id`.
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Crashes, and starts again after `away`. Acknowledgements of the last seconds are lost if `forgets`
    /// says so. Delivered messages are delivered again as a first delivery.
    pub fn crash(&mut self, now: Timestamp, away: Duration, mut forgets: impl FnMut() -> bool) {
        self.connection += 1;
        self.away_until = now.checked_add(away).ok();
        self.staged.clear();
        for delivery in self.status.iter_mut().chain(&mut self.transcripts) {
            let is_lost = match delivery.state {
                State::Pending(_) => false,
                State::Delivered(_) => true,
                State::Acknowledged(at) => now.duration_since(at).as_secs() < 5 && forgets(),
            };
            if is_lost {
                *delivery = Delivery::new(now);
            }
        }
    }

    /// Makes scheduled jobs due, and makes messages pending whose acknowledgement is late.
    pub fn advance(&mut self, now: Timestamp) {
        let due: Vec<_> =
            self.scheduled.iter().filter(|(_, (at, _))| *at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some((_, body)) = self.scheduled.remove(&key) {
                self.add_job(body, now);
            }
        }
        for delivery in self.status.iter_mut().chain(&mut self.transcripts) {
            if let State::Delivered(until) = delivery.state
                && until <= now
            {
                delivery.state = State::Pending(now);
            }
        }
    }

    fn add_job(&mut self, body: Bytes, now: Timestamp) {
        self.jobs.push(body);
        self.transcripts.push(Delivery::new(now));
    }

    /// Stores the first job of a conversation, unless it has one.
    pub fn owe(&mut self, conversation: &str, body: Bytes, now: Timestamp) {
        self.owed.insert(conversation.to_owned());
        if self.job_ids.insert(conversation.to_owned()) {
            self.add_job(body, now);
        }
    }

    /// Delivers at most `most` of the pending messages that `picks` selects. Returns their indexes.
    pub fn deliver(
        deliveries: &mut [Delivery],
        most: usize,
        now: Timestamp,
        mut picks: impl FnMut() -> bool,
    ) -> Vec<usize> {
        let mut given = Vec::new();
        for (n, delivery) in deliveries.iter_mut().enumerate() {
            let is_due = matches!(delivery.state, State::Pending(at) if at <= now);
            if given.len() < most && is_due && picks() {
                delivery.state = State::Delivered(now.saturating_add(ACK_WAIT).unwrap_or(now));
                delivery.delivered += 1;
                given.push(n);
            }
        }
        given
    }
}
