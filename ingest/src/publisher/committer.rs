//! The commit task: sends groups, reads the broker's answers, answers everyone who waits.
//!
//! One group is in flight at a time; what arrives meanwhile is the next one. Acknowledgements come
//! to one subscription of ours, numbered, so a late answer to an earlier group is recognised and
//! dropped, and a lost one leaves nothing behind.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::broker;
use async_nats::{Client, Message, Statistics, Subscriber};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    PublishError, Stored,
    group::{self, Entry, Plan, Recent, Slot},
    wire::{self, Answer},
};
use crate::{metrics::Metrics, topology::Topology};

/// How often a wait for answers looks whether the connection they would come by still stands.
const CONNECTION_CHECK: Duration = Duration::from_millis(50);

/// Stores what a [`super::Publisher`] takes in.
#[derive(Debug)]
pub struct Committer {
    client: Client,
    statistics: Arc<Statistics>,
    topology: Arc<Topology>,
    queue: mpsc::Receiver<Entry>,
    recent: Recent,
    metrics: Metrics,
    /// Number of the next message that wants an answer.
    next: u64,
}

/// What was sent under one number.
#[derive(Debug)]
enum Sent {
    Single(Slot),
    Batch(Vec<Slot>),
}

impl Sent {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Single(slot) => Some(slot.deadline),
            Self::Batch(slots) => slots.iter().map(|slot| slot.deadline).max(),
        }
    }

    fn fail(self, error: PublishError) {
        match self {
            Self::Single(slot) => slot.answer(Err(error)),
            Self::Batch(slots) => slots.into_iter().for_each(|slot| slot.answer(Err(error))),
        }
    }
}

fn fail_all(all: impl IntoIterator<Item = Sent>, error: PublishError) {
    for sent in all {
        sent.fail(error);
    }
}

/// Where answers come.
#[derive(Debug)]
struct Inbox {
    prefix: String,
    answers: Subscriber,
}

impl Committer {
    pub(super) fn new(
        client: Client,
        topology: Arc<Topology>,
        queue: mpsc::Receiver<Entry>,
        metrics: Metrics,
    ) -> Self {
        let statistics = client.statistics();
        Self { client, statistics, topology, queue, recent: Recent::default(), metrics, next: 0 }
    }

    /// Commits until `stop`, then what is still in line.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut line = VecDeque::new();
        let mut arrived = Vec::with_capacity(group::MAX_MESSAGES);
        let mut inbox = None;
        loop {
            let room = group::MAX_MESSAGES.saturating_sub(line.len());
            if line.is_empty() {
                tokio::select! {
                    count = self.queue.recv_many(&mut arrived, room) => if count == 0 { return },
                    // Closed, the queue still gives what it holds, and then nothing.
                    () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                }
            } else {
                while line.len() + arrived.len() < group::MAX_MESSAGES
                    && let Ok(entry) = self.queue.try_recv()
                {
                    arrived.push(entry);
                }
            }
            line.extend(arrived.drain(..));
            if line.is_empty() {
                continue;
            }
            let fitting = group::fitting(line.iter().map(|entry| entry.webhook.body.len()));
            let group: Vec<Entry> = line.drain(..fitting).collect();
            self.commit(group, &mut inbox).await;
        }
    }

    async fn commit(&mut self, entries: Vec<Entry>, inbox: &mut Option<Inbox>) {
        let smallest_batch = if self.topology.takes_batches() { group::SMALLEST_BATCH } else { usize::MAX };
        let Plan { batch, singles, expired } =
            group::plan(entries, Instant::now(), smallest_batch, &self.recent);
        for entry in expired {
            let _left = entry.reply.send(Err(PublishError::Expired));
        }
        let mut to_send: Vec<Sent> = singles.into_iter().map(Sent::Single).collect();
        if !batch.is_empty() {
            to_send.push(Sent::Batch(batch));
        }
        // At most twice: a batch that is refused comes back as single messages.
        while let Some(deadline) = to_send.iter().filter_map(Sent::deadline).max() {
            let Some(inbox) = self.inbox(inbox).await else {
                fail_all(to_send, PublishError::Disconnected);
                return;
            };
            let connection = self.connection();
            let first = self.next;
            let mut open = Vec::with_capacity(to_send.len());
            for sent in to_send {
                open.push(self.send(sent, &inbox.prefix, deadline).await);
            }
            to_send = self.settle(open, first, inbox, connection, deadline).await;
        }
    }

    /// The subscription answers come to; `None` while the broker is away.
    async fn inbox<'a>(&self, inbox: &'a mut Option<Inbox>) -> Option<&'a mut Inbox> {
        if !broker::is_connected(&self.client) {
            return None;
        }
        if inbox.is_none() {
            let prefix = format!("{}.", self.client.new_inbox());
            let answers = self.client.subscribe(format!("{prefix}*")).await.ok()?;
            *inbox = Some(Inbox { prefix, answers });
        }
        inbox.as_mut()
    }

    /// Number of the connection we are on: it changes when the broker was away, however shortly.
    fn connection(&self) -> u64 {
        self.statistics.connects.load(Ordering::Relaxed)
    }

    /// Sends under the next number; `None` when that failed and was answered.
    async fn send(&mut self, mut sent: Sent, inbox: &str, deadline: Instant) -> Option<Sent> {
        let reply = format!("{inbox}{}", self.next);
        self.next += 1;
        let writing = async {
            match &mut sent {
                Sent::Single(slot) => {
                    self.metrics.batch_size.observe(1.0);
                    self.write(slot, None, Some(reply)).await
                }
                Sent::Batch(slots) => {
                    #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
                    self.metrics.batch_size.observe(slots.len() as f64);
                    let (id, count) = (self.client.new_inbox(), slots.len());
                    let mut reply = Some(reply);
                    for (n, slot) in (1..).zip(slots) {
                        let reply = if n == count { reply.take() } else { None };
                        self.write(slot, Some((&id, n, count)), reply).await?;
                    }
                    Ok(())
                }
            }
        };
        match tokio::time::timeout_at(deadline, writing).await.unwrap_or(Err(PublishError::TimedOut)) {
            Ok(()) => Some(sent),
            Err(error) => {
                sent.fail(error);
                None
            }
        }
    }

    /// Hands one message to the client, unless the broker is away.
    async fn write(
        &self,
        slot: &mut Slot,
        batch: Option<(&str, usize, usize)>,
        reply: Option<String>,
    ) -> Result<(), PublishError> {
        if !broker::is_connected(&self.client) {
            return Err(PublishError::Disconnected);
        }
        let subject = slot.webhook.subject.clone();
        let body = slot.webhook.body.whole();
        let mut headers = slot.webhook.headers.clone(); // Kept: a refused batch is sent again, singly.
        if let Some((id, n, of)) = batch {
            wire::mark(&mut headers, id, n, of);
        }
        let written = match reply {
            Some(reply) => self.client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        written.map_err(|error| {
            tracing::warn!(%error, "the NATS client did not take a message");
            PublishError::Refused(0)
        })
    }

    /// Waits for the answers to `open`, numbered from `first`. Returns what to send again.
    async fn settle(
        &mut self,
        mut open: Vec<Option<Sent>>,
        first: u64,
        inbox: &mut Inbox,
        connection: u64,
        deadline: Instant,
    ) -> Vec<Sent> {
        let mut again = Vec::new();
        let mut missing = open.iter().flatten().count();
        let mut check = tokio::time::interval(CONNECTION_CHECK);
        let gave_up = loop {
            if missing == 0 {
                return again;
            }
            tokio::select! {
                biased;
                answer = inbox.answers.next() => {
                    let Some(message) = answer else { break PublishError::ConnectionLost };
                    let place = number(&message, &inbox.prefix)
                        .and_then(|number| usize::try_from(number.checked_sub(first)?).ok());
                    if let Some(sent) = place.and_then(|place| open.get_mut(place)?.take()) {
                        missing -= 1;
                        let answer = wire::read(message.status, &message.payload);
                        again.extend(self.conclude(sent, answer));
                    }
                }
                () = tokio::time::sleep_until(deadline) => break PublishError::TimedOut,
                _ = check.tick() => {
                    if !broker::is_connected(&self.client) || self.connection() != connection {
                        break PublishError::ConnectionLost;
                    }
                }
            }
        };
        fail_all(open.into_iter().flatten().chain(again), gave_up);
        Vec::new()
    }

    /// Passes `answer` on to whoever waits; a refused batch comes back as single messages, for each
    /// of which the broker then gives its own answer. Nothing of a refused batch is stored.
    fn conclude(&mut self, sent: Sent, answer: Answer) -> Vec<Sent> {
        match (sent, answer) {
            (Sent::Single(slot), Answer::Stored { sequence, duplicate, .. }) => {
                self.recent.insert(slot.webhook.id);
                slot.answer(Ok(Stored { sequence, duplicate }));
            }
            (Sent::Batch(slots), Answer::Stored { sequence, count, .. }) if count == slots.len() => {
                for (n, slot) in slots.into_iter().enumerate() {
                    self.recent.insert(slot.webhook.id);
                    let sequence = wire::sequence_in_batch(sequence, count, n);
                    slot.answer(Ok(Stored { sequence, duplicate: false }));
                }
            }
            (Sent::Batch(slots), Answer::Refused(_) | Answer::Garbled | Answer::Stored { .. }) => {
                tracing::debug!(?answer, messages = slots.len(), "batch refused: publishing one by one");
                self.metrics.batches_refused.inc();
                return slots.into_iter().map(Sent::Single).collect();
            }
            (sent, Answer::NoStream) => {
                self.topology.doubt();
                sent.fail(PublishError::NoStream);
            }
            (Sent::Single(slot), Answer::Refused(code)) => slot.answer(Err(PublishError::Refused(code))),
            (Sent::Single(slot), Answer::Garbled) => slot.answer(Err(PublishError::Garbled)),
        }
        Vec::new()
    }
}

/// The number a message answers.
fn number(message: &Message, prefix: &str) -> Option<u64> {
    message.subject.strip_prefix(prefix)?.parse().ok()
}
