//! Pulls messages with one request at a time, so that a worker receives consecutive messages of the stream.
//!
//! If several requests wait, the broker gives one message to each of them in turn. Two workers would then
//! each receive some events of every call. This takes twice as many statements, and the statements conflict.
//! The stream of the client library sends the next request before the last one is served. [`Requests`] sends
//! a request only when the worker has room for its messages. Requests of several workers may still wait at
//! the same time. So each request has a random priority: the broker serves the request with the highest
//! priority completely before the next one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::{
    Message as NatsMessage, Statistics, StatusCode, Subject, Subscriber,
    jetstream::{
        self, Message,
        consumer::{PullConsumer, pull::BatchConfig},
    },
};
use futures_util::{FutureExt as _, StreamExt as _};

/// How often the broker sends a heartbeat. After twice this time without a message or a heartbeat, the connection is
/// treated as lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often [`Requests::next`] checks whether the client has reconnected. The open request is lost then.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a request waits at the broker.
const REQUEST_EXPIRY: Duration = Duration::from_secs(30);
/// Room for the subjects of a message. The broker counts them besides payload and headers.
const SUBJECT_BYTES: usize = 8 * 1024;
/// Number of priorities of a request (ADR-42 of NATS).
const PRIORITIES: usize = 10;
/// Description of the answer after the last message of a request.
const COMPLETED: &str = "Batch Completed";

/// Why no messages could be received.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The request could not be sent.
    #[error("the request for messages could not be sent: {0}")]
    NotSent(String),
    /// The broker sent neither a message nor a heartbeat.
    #[error("the broker sent neither a message nor a heartbeat")]
    NoHeartbeat,
    /// The consumer does not exist any more, or refuses the request.
    #[error("the broker refuses the request for messages: {status} {description}")]
    Refused {
        /// The broker's status.
        status: StatusCode,
        /// The broker's text.
        description: String,
    },
    /// The subscription is closed.
    #[error("the connection to the broker is closed")]
    Closed,
}

/// The requests to one consumer.
#[derive(Debug)]
pub struct Requests {
    context: jetstream::Context,
    consumer: PullConsumer,
    request: BatchConfig,
    inbox: Subject,
    answers: Subscriber,
    /// Number of messages that the open request may still bring. 0 if no request is open.
    left: usize,
    statistics: Arc<Statistics>,
    /// How often the client had connected when the request was sent.
    connection: u64,
    /// When the request was sent or the broker last answered.
    last_heard: Instant,
}

impl Requests {
    /// Prepares requests, each for at most `messages` messages and `bytes` bytes. [`Self::next`] sends them.
    ///
    /// If the broker accepts messages that are larger than `bytes`, a request is for as many bytes as the largest message:
    /// otherwise the broker would refuse every request once such a message is the next one.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn open(
        context: jetstream::Context,
        consumer: PullConsumer,
        messages: usize,
        bytes: usize,
    ) -> Result<Self, Interrupted> {
        let client = context.client();
        let inbox = Subject::from(client.new_inbox());
        let answers = client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| Interrupted::NotSent(error.to_string()))?;
        let request = BatchConfig {
            batch: messages,
            max_bytes: bytes.max(client.max_payload() + SUBJECT_BYTES),
            expires: Some(REQUEST_EXPIRY),
            idle_heartbeat: HEARTBEAT,
            group: consumer.cached_info().config.priority_groups.first().cloned(),
            ..BatchConfig::default()
        };
        let statistics = client.statistics();
        let (left, connection, last_heard) = (0, 0, Instant::now());
        Ok(Self { context, consumer, request, inbox, answers, left, statistics, connection, last_heard })
    }

    /// Waits for messages and returns all that are available, at least one. If the caller drops the future,
    /// no message is lost.
    pub async fn next(&mut self) -> Result<Vec<Message>, Interrupted> {
        loop {
            let connection = self.statistics.connects.load(Ordering::Relaxed);
            if self.left == 0 || self.connection != connection {
                self.request.priority = Some(rand::random_range(0..PRIORITIES));
                let sent = self.consumer.request_batch(self.request.clone(), self.inbox.clone()).await;
                sent.map_err(|error| Interrupted::NotSent(error.to_string()))?;
                (self.left, self.connection, self.last_heard) =
                    (self.request.batch, connection, Instant::now());
            }
            // Unconstrained, because tokio's cooperative budget would end the batch after 128 messages.
            let next = tokio::time::timeout(POLL_INTERVAL, tokio::task::unconstrained(self.answers.next()));
            let Ok(first) = next.await else {
                if self.last_heard.elapsed() > 2 * HEARTBEAT {
                    return Err(Interrupted::NoHeartbeat);
                }
                continue;
            };
            let messages = self.ready(Some(first.ok_or(Interrupted::Closed)?))?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// Returns `first`, if given, and the messages that were received after it until now, but no more than the open
    /// request may bring.
    pub fn ready(&mut self, first: Option<NatsMessage>) -> Result<Vec<Message>, Interrupted> {
        let (mut messages, mut next) = (Vec::new(), first.or_else(|| self.poll()));
        while let Some(answer) = next {
            self.last_heard = Instant::now();
            match answer.status.unwrap_or(StatusCode::OK) {
                StatusCode::OK => {
                    self.left = self.left.saturating_sub(1);
                    messages.push(Message { message: answer, context: self.context.clone() });
                }
                StatusCode::IDLE_HEARTBEAT => {}
                // This answer belongs to the previous request, whose last message is already counted.
                StatusCode::REQUEST_TERMINATED if answer.description.as_deref() == Some(COMPLETED) => {}
                StatusCode::NOT_FOUND | StatusCode::TIMEOUT => self.left = 0,
                // No message of the request has arrived, so the broker refuses it.
                status if self.left == self.request.batch => {
                    let description = answer.description.unwrap_or_default();
                    return Err(Interrupted::Refused { status, description });
                }
                // The bytes of the request are used up, or the consumer is gone. The received messages are
                // returned anyway. The next request reports a missing consumer.
                _ => self.left = 0,
            }
            if self.left == 0 {
                break;
            }
            next = self.poll();
        }
        Ok(messages)
    }

    fn poll(&mut self) -> Option<NatsMessage> {
        tokio::task::unconstrained(self.answers.next()).now_or_never().flatten()
    }
}
