//! Reads a stream from a sequence to its present end, for commands and for the console. Does not use the consumers
//! of the workers.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{
    self, Message,
    consumer::{DeliverPolicy, pull},
};
use futures_util::StreamExt as _;

/// Longest wait for one message.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A scan of a stream, in the order of sequences.
pub struct Scan {
    messages: pull::Ordered,
    left: u64,
}

impl Scan {
    /// Begins a scan of `stream` from sequence `from` to its present last message.
    pub async fn of(context: &jetstream::Context, stream: &str, from: u64) -> anyhow::Result<Self> {
        Self::begin(context, stream, from, false).await
    }

    /// [`Self::of`] without the bodies of the messages.
    pub async fn of_headers(context: &jetstream::Context, stream: &str, from: u64) -> anyhow::Result<Self> {
        Self::begin(context, stream, from, true).await
    }

    async fn begin(
        context: &jetstream::Context,
        stream: &str,
        from: u64,
        headers_only: bool,
    ) -> anyhow::Result<Self> {
        let broken = |error: &dyn std::fmt::Display| anyhow!("stream {stream} cannot be read: {error}");
        let found = context.get_stream(stream).await.map_err(|error| broken(&error))?;
        let config = pull::OrderedConfig {
            headers_only,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ..pull::OrderedConfig::default()
        };
        let consumer = found.create_consumer(config).await.map_err(|error| broken(&error))?;
        let left = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|error| broken(&error))?;
        Ok(Self { messages, left })
    }

    /// Number of messages that remain.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next message with its sequence. `None` after the last one.
    pub async fn next(&mut self) -> anyhow::Result<Option<(u64, Message)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let next = tokio::time::timeout(TIMEOUT, self.messages.next()).await;
        let message = next.context("the broker does not answer")?.context("the stream ended")?;
        let message =
            message.map_err(|error| anyhow!("the next message of the stream cannot be read: {error}"))?;
        let info = message.info().map_err(|error| anyhow!("not a message of a stream: {error}"))?;
        let sequence = info.stream_sequence;
        self.left = info.pending; // Messages may have been removed meanwhile.
        Ok(Some((sequence, message)))
    }
}
