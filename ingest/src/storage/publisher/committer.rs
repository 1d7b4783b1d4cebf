//! The commit task: carries out what [`Commits`] decides, by the NATS client.
//!
//! Answers come to one subscription of ours, numbered, so a late one is recognised, and a lost one leaves
//! nothing behind.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aftercall_common::process::broker;
use async_nats::{Client, Message, Statistics, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    PublishError,
    commits::{Commits, Entry, MAX_BATCH, Order, Outcome},
    wire::{self, Answer},
};
use crate::{broker::streams::Topology, metrics::Metrics};

/// How often, while somebody waits, deadlines and the connection are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Longest the client may take to take a message: the broker then does not read any more.
const WRITE: Duration = Duration::from_millis(500);
/// Webhooks and answers taken in before anything is decided.
const GROUP: usize = 256;

/// Whoever waits for a webhook to be stored.
pub(super) type Waiter = oneshot::Sender<Outcome>;

/// Stores what a [`super::Publisher`] takes in.
#[derive(Debug)]
pub struct Committer {
    client: Client,
    statistics: Arc<Statistics>,
    topology: Arc<Topology>,
    queue: mpsc::Receiver<Entry<Waiter>>,
    commits: Commits<Waiter>,
    metrics: Metrics,
    /// Number of the connection that `commits` knows of: it changes when the broker was away.
    connection: u64,
}

/// Where answers come.
#[derive(Debug)]
struct Inbox {
    prefix: String,
    answers: Subscriber,
}

impl Inbox {
    async fn open(client: &Client) -> Option<Self> {
        let prefix = format!("{}.", client.new_inbox());
        let answers = client.subscribe(format!("{prefix}*")).await.ok()?;
        Some(Self { prefix, answers })
    }

    /// The number a message answers, and what it says.
    fn read(&self, message: &Message) -> Option<(u64, Answer)> {
        let number = message.subject.strip_prefix(&self.prefix)?.parse().ok()?;
        Some((number, wire::read(message.status, &message.payload)))
    }
}

impl Committer {
    pub(super) fn new(
        client: Client,
        topology: Arc<Topology>,
        queue: mpsc::Receiver<Entry<Waiter>>,
        metrics: Metrics,
    ) -> Self {
        let statistics = client.statistics();
        let (commits, connection) = (Commits::default(), 0);
        Self { client, statistics, topology, queue, commits, metrics, connection }
    }

    /// Commits until `stop`, then what is still in line.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(mut inbox) = Inbox::open(&self.client).await else { return };
        let mut arrived = Vec::with_capacity(GROUP);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        while open || !self.commits.is_idle() {
            let (has_room, is_idle) = (self.commits.waiting() < MAX_BATCH, self.commits.is_idle());
            tokio::select! {
                biased; // What is never overdue comes last: under load there is always an answer.
                _ = look.tick(), if !is_idle => self.commits.expire(Instant::now()),
                answer = inbox.answers.next(), if !is_idle => {
                    let Some(message) = answer else { break };
                    self.take_answers(message, &mut inbox);
                }
                count = self.queue.recv_many(&mut arrived, GROUP), if has_room && open => open = count > 0,
                // Closed, the queue still gives what it holds, and then nothing.
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
            if has_room {
                let waiting = std::iter::from_fn(|| self.queue.try_recv().ok());
                arrived.extend(waiting.take(GROUP));
            }
            self.look_at_connection(); // First: what has arrived is not of the old one.
            let now = Instant::now();
            for entry in arrived.drain(..) {
                self.commits.arrive(entry, now);
            }
            self.commits.set_takes_batches(self.topology.takes_batches());
            if broker::is_connected(&self.client) {
                self.commits.advance(now);
                self.send(&inbox.prefix).await;
            } else {
                self.commits.lost();
            }
            self.tell();
        }
        self.commits.lost(); // Where the client closed our subscription.
        self.tell();
    }

    /// The answer at hand, and those that are there already.
    fn take_answers(&mut self, first: Message, inbox: &mut Inbox) {
        let now = Instant::now();
        let refused = self.commits.refused();
        let mut next = Some(first);
        for _ in 0..GROUP {
            let Some(message) = next else { break };
            if let Some((number, answer)) = inbox.read(&message) {
                self.commits.answered(number, answer, now);
            }
            next = inbox.answers.next().now_or_never().flatten();
        }
        self.metrics.batches_refused.inc_by(self.commits.refused() - refused);
    }

    /// Sends what is to be sent.
    async fn send(&mut self, inbox: &str) {
        while let Some(order) = self.commits.order() {
            if !matches!(order.place, Some(place) if !place.commits) {
                #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
                self.metrics.batch_size.observe(order.place.map_or(1, |place| place.n) as f64);
            }
            let writing = tokio::time::timeout(WRITE, self.write(order, inbox)).await;
            if writing != Ok(true) {
                tracing::warn!("the NATS client does not take messages");
                self.commits.lost();
            }
        }
    }

    /// Hands a message to the client; false where that does not take it, or would keep it for later.
    async fn write(&self, Order { webhook, number, place }: Order, inbox: &str) -> bool {
        if !broker::is_connected(&self.client) {
            return false;
        }
        let mut headers = webhook.headers.clone();
        if let Some(place) = place {
            wire::mark(&mut headers, inbox, place);
        }
        let (subject, body) = (webhook.subject.clone(), webhook.body.whole());
        let written = match number {
            Some(number) => {
                let reply = format!("{inbox}{number}");
                self.client.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        written.is_ok()
    }

    /// Gives up what was sent on a connection that is no more.
    fn look_at_connection(&mut self) {
        let connection = self.statistics.connects.load(Ordering::Relaxed);
        if connection != self.connection {
            self.connection = connection;
            self.commits.lost();
        }
    }

    fn tell(&mut self) {
        for (waiter, outcome) in self.commits.told() {
            if outcome == Err(PublishError::NoStream) {
                self.topology.doubt();
            }
            let _left = waiter.send(outcome);
        }
    }
}
