//! Publishes messages in order to a stream that has one publisher at a time.
//!
//! Each publish expects the sequence of the last message that this publisher knows of. If another publisher
//! has stored a message since, the broker refuses. So an earlier leader that stopped for a while can never
//! publish after its successor.
//!
//! Several messages go as an atomic batch (ADR-50): the broker stores all of them with one sync, or none. The
//! broker refuses a batch with a message id that it has stored before, and the messages go one by one then.

use std::time::Duration;

use async_nats::{
    Client, HeaderMap, Request,
    header::{
        NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE,
        NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID,
    },
    jetstream::{self, ErrorCode, publish::PublishAck, response::Response},
};
use bytes::Bytes;

use crate::domain::delivery::EventType;

/// Longest wait for one answer of the broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most messages in one batch. The broker takes 1,000.
const MAX_BATCH: usize = 500;
/// The broker's error code for a batch with a message id that it has stored before (nats-server 2.15).
const DUPLICATE_IN_BATCH: u64 = 10_201;

/// A message to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedMessage {
    /// Identifies the message: the broker stores an id once within its duplicate window.
    pub id: String,
    /// The type, which decides the subject.
    pub event: EventType,
    /// The body.
    pub body: Bytes,
}

/// Why messages were not published, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another publisher has stored a message. What is to be published has to be read again.
    #[error("another publisher has written to the stream")]
    Conflict,
    /// The broker did not answer, or refused. The messages may be published again.
    #[error(transparent)]
    Broker(#[from] async_nats::Error),
}

/// Publishes to one stream.
#[derive(Debug)]
pub struct OrderedPublisher {
    client: Client,
    /// The sequence of the last message in the stream, as far as this publisher knows.
    last: u64,
}

impl OrderedPublisher {
    /// Publishes after the present last message of `stream`. What is published has to be read after this.
    ///
    /// # Errors
    /// The broker does not answer, or has no such stream.
    pub async fn new(
        client: Client,
        context: &jetstream::Context,
        stream: &str,
    ) -> Result<Self, async_nats::Error> {
        let last = context.get_stream(stream).await?.cached_info().state.last_sequence;
        Ok(Self { client, last })
    }

    /// Publishes `messages` in their order.
    ///
    /// # Errors
    /// See [`PublishError`]. The first messages may have been stored.
    pub async fn publish(&mut self, messages: &[OrderedMessage]) -> Result<(), PublishError> {
        for chunk in messages.chunks(MAX_BATCH) {
            if chunk.len() == 1 || !self.publish_batch(chunk).await? {
                self.publish_singly(chunk).await?;
            }
        }
        Ok(())
    }

    /// Publishes a batch. Returns `false` if the broker has stored one of its messages before.
    async fn publish_batch(&mut self, messages: &[OrderedMessage]) -> Result<bool, PublishError> {
        let Some((last, others)) = messages.split_last() else { return Ok(true) };
        let batch = format!("calls-{:016x}", rand::random::<u64>());
        let headers = |n: usize, message: &OrderedMessage| {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message.id.as_str());
            headers.insert(NATS_BATCH_ID, batch.as_str());
            headers.insert(NATS_BATCH_SEQUENCE, (n + 1).to_string());
            if n == 0 {
                headers.insert(NATS_EXPECTED_LAST_SEQUENCE, self.last.to_string());
            }
            headers
        };
        for (n, message) in others.iter().enumerate() {
            let (subject, body) = (message.event.subject(), message.body.clone());
            let sent = self.client.publish_with_headers(subject, headers(n, message), body).await;
            sent.map_err(async_nats::Error::from)?;
        }
        let mut commit = headers(others.len(), last);
        commit.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        match self.request(last, commit).await? {
            Ok(ack) => {
                self.last = ack.sequence;
                Ok(true)
            }
            Err(code) if code.0 == DUPLICATE_IN_BATCH => Ok(false),
            Err(code) => Err(refusal(code)),
        }
    }

    async fn publish_singly(&mut self, messages: &[OrderedMessage]) -> Result<(), PublishError> {
        for message in messages {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message.id.as_str());
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, self.last.to_string());
            let ack = self.request(message, headers).await?.map_err(refusal)?;
            if !ack.duplicate {
                self.last = ack.sequence;
            }
        }
        Ok(())
    }

    /// Sends a message and waits for the broker's answer.
    async fn request(
        &self,
        message: &OrderedMessage,
        headers: HeaderMap,
    ) -> Result<Result<PublishAck, ErrorCode>, async_nats::Error> {
        let request = Request::new().headers(headers).payload(message.body.clone()).timeout(Some(TIMEOUT));
        let answer = self.client.send_request(message.event.subject(), request).await?;
        Ok(match serde_json::from_slice(&answer.payload)? {
            Response::Ok(ack) => Ok(ack),
            Response::Err { error } => Err(error.error_code()),
        })
    }
}

fn refusal(code: ErrorCode) -> PublishError {
    match code {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            PublishError::Conflict
        }
        ErrorCode(code) => {
            PublishError::Broker(format!("the broker refuses the message: code {code}").into())
        }
    }
}
