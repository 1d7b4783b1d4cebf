//! Pulls the messages of one durable consumer, in batches.
//!
//! A batch holds the messages that are available, up to a bound. It does not wait until it is full, so a
//! single message is handled immediately, and a backlog in large batches. After a lost connection, a deleted
//! consumer or a restart of the broker, pulling starts again.

mod requests;

use std::time::Duration;

use aftercall_common::contract::streams::{self, EnsureError};
use async_nats::jetstream::{
    self, AckKind, Message,
    consumer::{PullConsumer, pull},
};
use tokio_util::sync::CancellationToken;

pub use self::requests::{Interrupted, Requests};
use crate::retry::Pauses;

/// Interval at which the broker is told that a message is still in work: well below every `ack_wait`.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// First and longest pause between two attempts to pull.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The consumer to pull from, and how much to pull at a time.
#[derive(Clone, Debug)]
pub struct Source {
    /// The stream.
    pub stream: &'static str,
    /// The durable consumer of the stream.
    pub consumer: String,
    /// The settings of a consumer that [`streams::ensure`] does not create.
    pub config: Option<pull::Config>,
    /// Most messages in a batch.
    pub messages: usize,
    /// Most bytes in a batch.
    pub bytes: usize,
    /// Replicas of the stream, in case it has to be created again.
    pub replicas: usize,
}

/// A source of messages.
pub trait Pull: Send {
    /// A message.
    type Message;

    /// Waits for the next messages and returns at least one. `None` once `stop` is cancelled. If the caller
    /// drops the future, no message is lost.
    fn next(&mut self, stop: &CancellationToken) -> impl Future<Output = Option<Vec<Self::Message>>> + Send;
}

/// The endless batches of a [`Source`].
pub struct Batches {
    context: jetstream::Context,
    source: Source,
    open: Option<Requests>,
    pauses: Pauses,
}

impl Batches {
    /// The batches of `source`. The first pull opens the consumer.
    pub fn new(context: jetstream::Context, source: Source) -> Self {
        Self { context, source, open: None, pauses: Pauses::endless(RETRY_DELAY.0, RETRY_DELAY.1) }
    }

    /// The messages that arrived since the last batch, without waiting for more.
    pub fn received(&mut self) -> Vec<Message> {
        let Some(open) = &mut self.open else { return Vec::new() };
        open.ready(None).unwrap_or_else(|_interrupted| {
            self.open = None; // The next pull opens the consumer again.
            Vec::new()
        })
    }

    /// Returns messages to the broker: the `unacknowledged` ones, and messages that were received and not
    /// handed out. The broker then delivers them to another worker immediately.
    pub async fn release(mut self, unacknowledged: Vec<Message>) {
        let mut held = unacknowledged;
        if let Some(mut open) = self.open.take() {
            held.extend(open.ready(None).unwrap_or_default());
            drop(open); // Otherwise the broker would deliver the returned messages to this request.
        }
        for message in &held {
            acknowledge(message, AckKind::Nak(None)).await;
        }
        tracing::info!(
            consumer = self.source.consumer,
            handed_back = held.len(),
            "consumer stopped; its unacknowledged messages are returned to the broker"
        );
    }

    async fn open(&self) -> Result<Requests, OpenError> {
        let Source { stream, ref consumer, ref config, messages, bytes, replicas } = self.source;
        // An operator may have deleted the stream or the consumer, or a disk may be lost.
        streams::ensure(&self.context, replicas).await?;
        if let Some(config) = config.clone() {
            self.context.create_consumer_on_stream(config, stream).await.map_err(OpenError::broker)?;
        }
        let consumer: PullConsumer =
            self.context.get_consumer_from_stream(consumer, stream).await.map_err(OpenError::broker)?;
        Ok(Requests::open(self.context.clone(), consumer, messages, bytes).await?)
    }
}

impl Pull for Batches {
    type Message = Message;

    async fn next(&mut self, stop: &CancellationToken) -> Option<Vec<Message>> {
        while !stop.is_cancelled() {
            let Some(open) = &mut self.open else {
                match stop.run_until_cancelled(Box::pin(self.open())).await? {
                    Ok(requests) => self.open = Some(requests),
                    Err(error) => {
                        tracing::warn!(consumer = self.source.consumer, %error, "messages cannot be pulled; trying again");
                        self.pauses.sleep(stop).await;
                    }
                }
                continue;
            };
            match stop.run_until_cancelled(open.next()).await? {
                Ok(messages) => {
                    self.pauses.reset();
                    return Some(messages);
                }
                Err(error) => {
                    tracing::warn!(consumer = self.source.consumer, %error, "consuming was interrupted; trying again");
                    self.open = None;
                    // Without a pause, a broken consumer would make a busy loop.
                    self.pauses.sleep(stop).await;
                }
            }
        }
        None
    }
}

/// Sends an acknowledgement of `message` to the broker. If the acknowledgement is lost, the broker delivers
/// the message again. This does no harm, because processing a message can be repeated.
pub async fn acknowledge(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "acknowledgement not sent; the broker delivers the message again after ack_wait");
    }
}

/// Awaits `work` on `message`. However long it takes, the broker does not deliver the message again meanwhile.
pub async fn hold<T>(message: &Message, work: impl Future<Output = T>) -> T {
    let progress = async {
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            acknowledge(message, AckKind::Progress).await;
        }
    };
    tokio::select! {
        done = work => done,
        never = progress => never,
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Streams(#[from] EnsureError),
    #[error("{0}")]
    Broker(String),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl OpenError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn broker(error: impl ToString) -> Self {
        Self::Broker(error.to_string())
    }
}
