//! Messages of one durable consumer, in batches: whatever is there, up to a bound, at once.
//!
//! Nothing is waited for once a message is there, so a lone one is handled alone and a backlog in
//! large batches. Lost connections, deleted consumers and restarted brokers end in a new attempt.

mod requests;

use std::time::Duration;

use aftercall_common::contract::streams::{self, EnsureError};
use async_nats::jetstream::{self, AckKind, Message, consumer::PullConsumer};
use tokio_util::sync::CancellationToken;

pub use self::requests::{Interrupted, Requests};
use crate::retry::Pauses;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// What to pull, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Stream that has it.
    pub stream: &'static str,
    /// Durable consumer that gives it.
    pub consumer: &'static str,
    /// Most messages asked for at a time.
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
    open: Option<Requests>,
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
                    Ok(requests) => self.open = Some(requests),
                    Err(error) => {
                        tracing::warn!(consumer = self.source.consumer, %error, "cannot consume; trying again");
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
                    tracing::warn!(consumer = self.source.consumer, %error, "consuming was interrupted");
                    self.open = None;
                    // Lest a broken consumer makes a hot loop.
                    self.pauses.sleep(stop).await;
                }
            }
        }
        None
    }

    /// Hands back `unsettled` and what was fetched and not begun, so that another worker gets it at
    /// once.
    pub async fn release(mut self, unsettled: Vec<Message>) {
        let mut held = unsettled;
        if let Some(mut open) = self.open.take() {
            held.extend(open.ready(None).unwrap_or_default());
            drop(open); // Else what is handed back would come straight back to us.
        }
        for message in &held {
            settle(message, AckKind::Nak(None)).await;
        }
        tracing::info!(consumer = self.source.consumer, handed_back = held.len(), "consumer stopped");
    }

    async fn open(&self) -> Result<Requests, OpenError> {
        let Source { stream, consumer, messages, bytes, replicas } = self.source;
        // Made again where an operator or a lost disk took it away.
        streams::ensure(&self.context, replicas).await?;
        let consumer: PullConsumer =
            self.context.get_consumer_from_stream(consumer, stream).await.map_err(OpenError::broker)?;
        Ok(Requests::open(self.context.clone(), consumer, messages, bytes).await?)
    }
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
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl OpenError {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn broker(error: impl ToString) -> Self {
        Self::Broker(error.to_string())
    }
}
