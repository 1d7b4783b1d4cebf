//! The task that carries out the decisions of [`GroupCommit`].
//!
//! The broker's answers come to one subscription. Each reply subject ends in an [`AckId`], so a late answer
//! is recognised, and a lost answer leaves no subscription behind.

use std::{
    iter,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aftercall_common::process::broker;
use async_nats::{Client, Message, Statistics, Subscriber};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    group_commit::{GroupCommit, MAX_BATCH},
    result::{PublishError, PublishResult},
    waiters::PublishRequest,
    wire::{self, AckId, Answer, OutgoingMessage},
};
use crate::{broker::streams::Streams, metrics::Metrics};

/// Interval at which deadlines are checked while requests wait.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest time in which the NATS client must accept a message. If it does not, the broker has stopped
/// reading.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// Most requests, and most answers, that are taken before the next decision.
const MAX_PER_TURN: usize = 256;

/// Receives the result of a request.
pub(super) type Waiter = oneshot::Sender<PublishResult>;

/// Publishes the requests of a [`super::Publisher`].
#[derive(Debug)]
pub struct Committer {
    client: Client,
    statistics: Arc<Statistics>,
    streams: Arc<Streams>,
    queue: mpsc::Receiver<PublishRequest<Waiter>>,
    commits: GroupCommit<Waiter>,
    metrics: Metrics,
    /// The number of the connection on which `commits` has its messages in flight. It changes with each
    /// reconnect.
    connection: u64,
}

/// The subscription for the broker's answers.
#[derive(Debug)]
struct Inbox {
    /// Beginning of each reply subject, before the [`AckId`].
    prefix: String,
    answers: Subscriber,
}

impl Inbox {
    /// `None` if the client is closed.
    async fn open(client: &Client) -> Option<Self> {
        let prefix = format!("{}.", client.new_inbox());
        let answers = client.subscribe(format!("{prefix}*")).await.ok()?;
        Some(Self { prefix, answers })
    }

    fn parse(prefix: &str, message: &Message) -> Option<(AckId, Answer)> {
        let ack = AckId(message.subject.strip_prefix(prefix)?.parse().ok()?);
        Some((ack, wire::parse(message.status, &message.payload)))
    }
}

/// Returns `first` and the items that `stream` has ready, at most `limit` items in all. An item beyond the
/// limit stays in the stream.
fn up_to<S: Stream + Unpin>(limit: usize, first: S::Item, stream: &mut S) -> impl Iterator<Item = S::Item> {
    let ready = iter::from_fn(|| stream.next().now_or_never().flatten());
    iter::once(first).chain(ready.take(limit - 1))
}

impl Committer {
    pub(super) fn new(
        client: Client,
        streams: Arc<Streams>,
        queue: mpsc::Receiver<PublishRequest<Waiter>>,
        metrics: Metrics,
    ) -> Self {
        let statistics = client.statistics();
        let (commits, connection) = (GroupCommit::default(), 0);
        Self { client, statistics, streams, queue, commits, metrics, connection }
    }

    /// Publishes until `stop`, and then until the queue is empty and every request is answered.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(mut inbox) = Inbox::open(&self.client).await else { return };
        let mut requests = Vec::with_capacity(MAX_PER_TURN);
        let mut deadline_check = tokio::time::interval(DEADLINE_CHECK_INTERVAL);
        deadline_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        while is_open || !self.commits.is_idle() {
            let (has_room, is_idle) = (self.commits.queued() < MAX_BATCH, self.commits.is_idle());
            tokio::select! {
                biased; // Deadlines come first, because under load an answer or a request is always ready.
                _ = deadline_check.tick(), if !is_idle => self.commits.expire(Instant::now()),
                answer = inbox.answers.next(), if !is_idle => {
                    let Some(message) = answer else { break };
                    self.process_answers(message, &mut inbox);
                }
                count = self.queue.recv_many(&mut requests, MAX_PER_TURN), if has_room && is_open => {
                    is_open = count > 0;
                }
                // After the close, the queue still returns the requests that it holds, and then 0 requests.
                () = stop.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
            if has_room {
                let queued = std::iter::from_fn(|| self.queue.try_recv().ok());
                requests.extend(queued.take(MAX_PER_TURN));
            }
            // Must run before the new requests are added, because they do not belong to the old connection.
            self.detect_reconnect();
            self.publish(&mut requests, &inbox.prefix).await;
            self.complete_waiters();
        }
        self.commits.connection_lost(); // Requests are left only if the client has closed the subscription.
        self.complete_waiters();
    }

    /// Adds the requests and sends all messages that can be sent now.
    async fn publish(&mut self, requests: &mut Vec<PublishRequest<Waiter>>, inbox: &str) {
        let now = Instant::now();
        for request in requests.drain(..) {
            self.commits.arrive(request, now);
        }
        self.commits.set_supports_batches(self.streams.supports_batches());
        if broker::is_connected(&self.client) {
            self.commits.advance(now);
            self.send_all(inbox).await;
        } else {
            self.commits.connection_lost();
        }
    }

    /// Processes `first` and the answers that have already arrived after it.
    fn process_answers(&mut self, first: Message, inbox: &mut Inbox) {
        let now = Instant::now();
        let refused_before = self.commits.refused_batches();
        let Inbox { prefix, answers } = inbox;
        for message in up_to(MAX_PER_TURN, first, answers) {
            if let Some((ack, answer)) = Inbox::parse(prefix, &message) {
                self.commits.acknowledged(ack, answer, now);
            }
        }
        self.metrics.batches_refused.inc_by(self.commits.refused_batches() - refused_before);
    }

    async fn send_all(&mut self, inbox: &str) {
        while let Some(message) = self.commits.next_publish() {
            if !matches!(message.position, Some(position) if !position.commits) {
                #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
                let size = message.position.map_or(1, |position| position.sequence) as f64;
                self.metrics.batch_size.observe(size);
            }
            let sent = tokio::time::timeout(WRITE_TIMEOUT, self.send(message, inbox)).await;
            if sent != Ok(true) {
                tracing::warn!(
                    "the NATS client does not accept messages: all webhooks in flight fail with connection_lost"
                );
                self.commits.connection_lost();
            }
        }
    }

    /// Gives a message to the NATS client. Returns false if the client does not accept it, or would keep it
    /// until the broker is back.
    async fn send(&self, message: OutgoingMessage, inbox: &str) -> bool {
        if !broker::is_connected(&self.client) {
            return false;
        }
        let OutgoingMessage { webhook, ack, position } = message;
        let mut headers = webhook.headers.clone();
        if let Some(position) = position {
            wire::add_batch_headers(&mut headers, inbox, position);
        }
        let (subject, body) = (webhook.subject.clone(), webhook.body.whole());
        let sent = match ack {
            Some(ack) => {
                let reply = format!("{inbox}{ack}");
                self.client.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        sent.is_ok()
    }

    /// Fails all requests after a reconnect, because no acknowledgement comes for messages of the earlier
    /// connection.
    fn detect_reconnect(&mut self) {
        let connection = self.statistics.connects.load(Ordering::Relaxed);
        if connection != self.connection {
            self.connection = connection;
            self.commits.connection_lost();
        }
    }

    fn complete_waiters(&mut self) {
        for (waiter, result) in self.commits.completed() {
            if result == Err(PublishError::NoStream) {
                self.streams.request_check();
            }
            let _sender_has_left = waiter.send(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn an_item_beyond_the_limit_stays_in_the_stream() {
        let mut stream = stream::iter(1..6);
        assert_eq!(up_to(3, 0, &mut stream).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(up_to(10, 0, &mut stream).collect::<Vec<_>>(), [0, 3, 4, 5]);
    }
}
