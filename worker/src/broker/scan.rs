//! Reads a stream from a place to its present end, for commands. It shares no consumer with the workers.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use async_nats::jetstream::{
    self, Message,
    consumer::{DeliverPolicy, pull},
};
use futures_util::StreamExt as _;

/// Longest one message is waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A walk through a stream.
pub struct Scan {
    messages: pull::Ordered,
    left: u64,
}

impl Scan {
    /// Walks through `stream` from sequence `from` on, to what is its last message now.
    pub async fn of(context: &jetstream::Context, stream: &str, from: u64) -> anyhow::Result<Self> {
        let broken = |error: &dyn std::fmt::Display| anyhow!("stream {stream} cannot be read: {error}");
        let found = context.get_stream(stream).await.map_err(|error| broken(&error))?;
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ..pull::OrderedConfig::default()
        };
        let consumer = found.create_consumer(config).await.map_err(|error| broken(&error))?;
        let left = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|error| broken(&error))?;
        Ok(Self { messages, left })
    }

    /// Messages still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next message, and its sequence.
    pub async fn next(&mut self) -> anyhow::Result<Option<(u64, Message)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let next = tokio::time::timeout(TIMEOUT, self.messages.next()).await;
        let message = next.context("the broker does not answer")?.context("the stream ended")?;
        let message = message.map_err(|error| anyhow!("the stream cannot be read on: {error}"))?;
        let info = message.info().map_err(|error| anyhow!("not a message of a stream: {error}"))?;
        let sequence = info.stream_sequence;
        self.left = info.pending; // Some may have gone meanwhile.
        Ok(Some((sequence, message)))
    }
}
