//! One pull request at a time, served as a whole: what a worker gets lies together in the stream.
//!
//! Of the requests that wait, the broker deals messages out in turn, so of two workers each would get some
//! events of every call: twice the statements, which get into each other's way. The client's own stream has
//! the next request wait before the last is served. Here one is made when there is room for what it brings;
//! where several workers wait all the same, each drew a priority, and the broker serves the first of them
//! before the next.

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

/// A broker that is silent for twice this long is taken for lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often the connection is looked at: a broker that was away does not know of a request any more.
const LOOK: Duration = Duration::from_millis(250);
/// Longest a request waits at the broker.
const EXPIRES: Duration = Duration::from_secs(30);
/// Priorities that the broker knows (ADR-42).
const PRIORITIES: usize = 10;
/// In the answer behind the last message of a request.
const COMPLETED: &str = "Batch Completed";

/// Why no more messages come.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The broker cannot be asked.
    #[error("the broker cannot be asked: {0}")]
    NotAsked(String),
    /// It says nothing any more, though it was to.
    #[error("the broker is silent")]
    Silent,
    /// The consumer is gone, or does not take the request.
    #[error("{status} {description}")]
    Refused {
        /// As the broker has it.
        status: StatusCode,
        /// As the broker has it.
        description: String,
    },
    /// The client closed the subscription.
    #[error("the client is closed")]
    Closed,
}

/// Messages of one consumer.
#[derive(Debug)]
pub struct Requests {
    context: jetstream::Context,
    consumer: PullConsumer,
    request: BatchConfig,
    inbox: Subject,
    answers: Subscriber,
    /// Messages that are still to come for the request that was made.
    left: usize,
    statistics: Arc<Statistics>,
    /// Number of the connection that it was made on.
    connection: u64,
    /// When the broker was asked, or heard, last.
    heard: Instant,
}

impl Requests {
    /// Will ask `consumer` for so many messages and bytes at a time.
    pub async fn open(
        context: jetstream::Context,
        consumer: PullConsumer,
        messages: usize,
        bytes: usize,
    ) -> Result<Self, Interrupted> {
        let client = context.client();
        let inbox = Subject::from(client.new_inbox());
        let answers = client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(|error| Interrupted::NotAsked(error.to_string()))?;
        let request = BatchConfig {
            batch: messages,
            max_bytes: bytes,
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            group: consumer.cached_info().config.priority_groups.first().cloned(),
            ..BatchConfig::default()
        };
        let statistics = client.statistics();
        let (left, connection, heard) = (0, 0, Instant::now());
        Ok(Self { context, consumer, request, inbox, answers, left, statistics, connection, heard })
    }

    /// The messages that are there, at least one; waits for that. Nothing is lost where the wait is given up.
    pub async fn next(&mut self) -> Result<Vec<Message>, Interrupted> {
        loop {
            let connection = self.statistics.connects.load(Ordering::Relaxed);
            if self.left == 0 || self.connection != connection {
                self.request.priority = Some(rand::random_range(0..PRIORITIES));
                let asked = self.consumer.request_batch(self.request.clone(), self.inbox.clone()).await;
                asked.map_err(|error| Interrupted::NotAsked(error.to_string()))?;
                (self.left, self.connection, self.heard) = (self.request.batch, connection, Instant::now());
            }
            // Unconstrained: tokio's fairness would cut what is there at 128 messages.
            let next = tokio::time::timeout(LOOK, tokio::task::unconstrained(self.answers.next()));
            let Ok(first) = next.await else {
                if self.heard.elapsed() > 2 * HEARTBEAT {
                    return Err(Interrupted::Silent);
                }
                continue;
            };
            self.heard = Instant::now();
            let messages = self.ready(Some(first.ok_or(Interrupted::Closed)?))?;
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    /// `first`, and what came behind it until now, up to the end of the request.
    pub fn ready(&mut self, first: Option<NatsMessage>) -> Result<Vec<Message>, Interrupted> {
        let (mut messages, mut next) = (Vec::new(), first.or_else(|| self.poll()));
        while let Some(answer) = next {
            match answer.status.unwrap_or(StatusCode::OK) {
                StatusCode::OK => {
                    self.left = self.left.saturating_sub(1);
                    messages.push(Message { message: answer, context: self.context.clone() });
                }
                StatusCode::IDLE_HEARTBEAT => {}
                // Of the request before, the last message of which we have counted.
                StatusCode::REQUEST_TERMINATED if answer.description.as_deref() == Some(COMPLETED) => {}
                StatusCode::NOT_FOUND | StatusCode::TIMEOUT => self.left = 0,
                // Nothing came for it.
                status if self.left == self.request.batch => {
                    let description = answer.description.unwrap_or_default();
                    return Err(Interrupted::Refused { status, description });
                }
                // Its bytes are used up, or the consumer is gone, which the next request tells: what came is
                // not to be forgotten for that.
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
