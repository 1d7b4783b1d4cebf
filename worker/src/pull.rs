//! Messages of one durable consumer, in batches: whatever is there, up to a bound, at once.
//!
//! Nothing is waited for once a message is there, so a lone one is handled alone and a backlog in
//! large batches. Lost connections, deleted consumers and restarted brokers end in a new attempt.

use std::time::Duration;

use aftercall_common::stream::{self, EnsureError};
use async_nats::jetstream::{
    self, AckKind, Message,
    consumer::{PullConsumer, StreamError, pull},
};
use futures_util::{FutureExt as _, StreamExt as _, stream::ReadyChunks};
use tokio_util::sync::CancellationToken;

use crate::retry::Pauses;

/// A broker that is silent for twice this long is taken for lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
const EXPIRES: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// What to pull, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Stream that has it.
    pub stream: &'static str,
    /// Durable consumer that gives it.
    pub consumer: &'static str,
    /// Most messages of one batch.
    pub messages: usize,
    /// Most bytes asked for at a time.
    pub bytes: usize,
    /// Replicas, should the stream have to be made again.
    pub replicas: usize,
}

/// Where messages come from.
pub trait Pull: Send {
    /// What comes.
    type Message;

    /// The next messages, at least one; `None` once `stop` is cancelled. Nothing is lost where the wait is
    /// given up.
    fn next(&mut self, stop: &CancellationToken) -> impl Future<Output = Option<Vec<Self::Message>>> + Send;
}

/// Batches of a [`Source`], without end.
pub struct Batches {
    context: jetstream::Context,
    source: Source,
    open: Option<ReadyChunks<pull::Stream>>,
    pauses: Pauses,
}

impl Batches {
    /// Batches of `source`; opened when first asked.
    pub fn new(context: jetstream::Context, source: Source) -> Self {
        Self { context, source, open: None, pauses: Pauses::endless(RETRY_FIRST, RETRY_MOST) }
    }

    async fn pull(&mut self, stop: &CancellationToken) -> Option<Vec<Message>> {
        while !stop.is_cancelled() {
            let Some(open) = &mut self.open else {
                match stop.run_until_cancelled(Box::pin(self.open())).await? {
                    Ok(messages) => self.open = Some(messages.ready_chunks(self.source.messages)),
                    Err(error) => {
                        tracing::warn!(consumer = self.source.consumer, %error, "cannot consume; trying again");
                        self.pauses.sleep(stop).await;
                    }
                }
                continue;
            };
            // Unconstrained: tokio's fairness would cut every batch at 128 messages.
            let next = tokio::task::unconstrained(open.next());
            let items = stop.run_until_cancelled(next).await?.unwrap_or_default();
            let mut batch = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Ok(message) => batch.push(message),
                    Err(error) => {
                        tracing::warn!(consumer = self.source.consumer, %error, "consuming was interrupted");
                        self.open = None;
                    }
                }
            }
            if batch.is_empty() {
                // An error, or the stream's end: a pause, lest a broken consumer makes a hot loop.
                self.open = None;
                self.pauses.sleep(stop).await;
            } else {
                self.pauses.reset();
                return Some(batch);
            }
        }
        None
    }

    /// Hands back `unsettled` and what was fetched and not begun, so that another worker gets it at
    /// once.
    pub async fn release(mut self, unsettled: Vec<Message>) {
        let mut held = unsettled;
        if let Some(mut open) = self.open.take() {
            // At most what two requests asked for is here.
            for _ in 0..2 {
                let ready = tokio::task::unconstrained(open.next()).now_or_never().flatten();
                held.extend(ready.unwrap_or_default().into_iter().flatten());
            }
            drop(open); // Else what is handed back would come straight back to us.
        }
        for message in &held {
            settle(message, AckKind::Nak(None)).await;
        }
        tracing::info!(consumer = self.source.consumer, handed_back = held.len(), "consumer stopped");
    }

    async fn open(&self) -> Result<pull::Stream, OpenError> {
        // Made again where an operator or a lost disk took it away.
        stream::ensure(&self.context, self.source.replicas).await?;
        let consumer: PullConsumer = self
            .context
            .get_consumer_from_stream(self.source.consumer, self.source.stream)
            .await
            .map_err(OpenError::broker)?;
        messages(&consumer, self.source.messages, self.source.bytes).await.map_err(OpenError::broker)
    }
}

/// What `consumer` gives, so many messages and bytes asked for at a time.
pub(crate) async fn messages(
    consumer: &PullConsumer,
    messages: usize,
    bytes: usize,
) -> Result<pull::Stream, StreamError> {
    let stream = consumer.stream().max_messages_per_batch(messages).max_bytes_per_batch(bytes);
    stream.heartbeat(HEARTBEAT).expires(EXPIRES).messages().await
}

impl Pull for Batches {
    type Message = Message;

    async fn next(&mut self, stop: &CancellationToken) -> Option<Vec<Message>> {
        self.pull(stop).await
    }
}

/// Tells the broker what became of `message`. A lost answer means that it comes again, which changes
/// nothing: everything that is done for a message may be done twice.
pub async fn settle(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "not settled; the broker delivers it again after ack_wait");
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Topology(#[from] EnsureError),
    #[error("{0}")]
    Broker(String),
}

impl OpenError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn broker(error: impl ToString) -> Self {
        Self::Broker(error.to_string())
    }
}
