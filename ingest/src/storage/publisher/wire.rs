//! The format of `JetStream` publishes: the headers of atomic batches (ADR-50) and the broker's answers.
//!
//! The gateway has its own code for this format. The only library for atomic batches refuses message ids in
//! batches, and needs another version of the NATS client.
//!
//! Invariant: an answer counts as [`Answer::Stored`] only if it has a stream sequence.

use std::{fmt, sync::Arc};

use async_nats::{
    HeaderMap, StatusCode,
    header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE},
};
use serde::Deserialize;

use crate::storage::message::Webhook;

/// Identifies an expected answer. It is the last token of the reply subject of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AckId(pub u64);

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of a message in an atomic batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPosition {
    /// The number of the batch.
    pub batch: u64,
    /// The number of the message in the batch, from 1 (`Nats-Batch-Sequence`).
    pub sequence: usize,
    /// Whether the message commits the batch. It is the last message then.
    pub commits: bool,
}

/// A message to send, directly after the previous one.
#[derive(Debug)]
pub struct OutgoingMessage {
    /// The webhook that the message carries.
    pub webhook: Arc<Webhook>,
    /// Identifies the acknowledgement. `None`: the broker is not asked to acknowledge this message.
    pub ack: Option<AckId>,
    /// The position in a batch. `None`: a single message.
    pub position: Option<BatchPosition>,
}

/// Adds the batch headers to the headers of a message. `prefix` makes the batch id unique among all
/// publishers; the broker accepts ids of at most 64 characters.
pub(super) fn add_batch_headers(headers: &mut HeaderMap, prefix: &str, position: BatchPosition) {
    headers.insert(NATS_BATCH_ID, format!("{prefix}{}", position.batch));
    headers.insert(NATS_BATCH_SEQUENCE, position.sequence.to_string());
    if position.commits {
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
    }
}

/// The broker's answer to a message, or to the commit of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The broker has stored the message or the batch. Whether it is on disk depends on the broker's
    /// settings.
    Stored {
        /// The stream sequence of the message, or of the last message of the batch.
        sequence: u64,
        /// Whether the broker knew the id and stored nothing.
        duplicate: bool,
        /// The number of messages in the batch; 1 for a single message.
        count: usize,
    },
    /// The broker has staged the message as part of a batch that is not committed yet.
    Staged,
    /// No stream takes the subject.
    NoStream,
    /// The broker refused with this error code and stored nothing.
    Refused(u64),
    /// The answer has an unknown format.
    Garbled,
}

/// Parses an answer of the broker.
pub(super) fn parse(status: Option<StatusCode>, payload: &[u8]) -> Answer {
    #[derive(Deserialize)]
    struct Wire {
        error: Option<ApiError>,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
        count: Option<usize>,
    }
    #[derive(Deserialize)]
    struct ApiError {
        #[serde(default)]
        err_code: u64,
    }

    if status == Some(StatusCode::NO_RESPONDERS) {
        return Answer::NoStream;
    }
    if payload.is_empty() {
        return Answer::Staged;
    }
    match serde_json::from_slice(payload) {
        Ok(Wire { error: Some(error), .. }) => Answer::Refused(error.err_code),
        Ok(Wire { error: None, seq, duplicate, count }) if seq > 0 => {
            Answer::Stored { sequence: seq, duplicate, count: count.unwrap_or(1) }
        }
        Ok(_) | Err(_) => Answer::Garbled,
    }
}

/// The stream sequence of message `n` (from 0) in a batch of `count` messages, of which the last has the
/// sequence `last`. The broker gives the messages of a batch consecutive sequences.
pub(super) fn sequence_in_batch(last: u64, count: usize, n: usize) -> u64 {
    (last + 1 + n as u64).saturating_sub(count as u64)
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderName;

    use super::*;

    #[test]
    fn answers_of_a_real_server_are_parsed() {
        // The first five are answers of nats-server 2.15.1.
        #[rustfmt::skip]
        let table: [(&str, Answer); 9] = [
            ("", Answer::Staged),
            (r#"{"stream":"WEBHOOKS","seq":3}"#, Answer::Stored { sequence: 3, duplicate: false, count: 1 }),
            (r#"{"stream":"WEBHOOKS","seq":3,"duplicate": true}"#, Answer::Stored { sequence: 3, duplicate: true, count: 1 }),
            (r#"{"stream":"WEBHOOKS","seq":9,"batch":"b","count":4}"#, Answer::Stored { sequence: 9, duplicate: false, count: 4 }),
            (r#"{"error":{"code":400,"err_code":10201,"description":"atomic publish batch contains duplicate message id"},"stream":"WEBHOOKS","seq":0}"#, Answer::Refused(10201)),
            (r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"WEBHOOKS","seq":0}"#, Answer::Refused(10077)),
            (r#"{"error":{"code":503}}"#, Answer::Refused(0)),
            (r#"{"stream":"WEBHOOKS","seq":0}"#, Answer::Garbled),
            ("+OK", Answer::Garbled),
        ];
        for (payload, expected) in table {
            assert_eq!(parse(None, payload.as_bytes()), expected, "{payload}");
        }
        assert_eq!(parse(Some(StatusCode::NO_RESPONDERS), b""), Answer::NoStream);
    }

    #[test]
    fn the_sequences_of_a_batch_end_at_the_last_one() {
        assert_eq!((0..4).map(|n| sequence_in_batch(9, 4, n)).collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert_eq!(sequence_in_batch(1, 1, 0), 1);
    }

    #[test]
    fn only_the_last_message_carries_the_commit_header() {
        for (sequence, commits) in [(1, false), (2, false), (3, true)] {
            let mut headers = HeaderMap::new();
            add_batch_headers(&mut headers, "_INBOX.x.", BatchPosition { batch: 7, sequence, commits });
            let text = |name: HeaderName| headers.get(name).map(ToString::to_string);
            assert_eq!(text(NATS_BATCH_ID).as_deref(), Some("_INBOX.x.7"));
            assert_eq!(text(NATS_BATCH_SEQUENCE), Some(sequence.to_string()));
            assert_eq!(text(NATS_BATCH_COMMIT).is_some(), commits);
        }
    }
}
