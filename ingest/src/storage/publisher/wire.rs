//! The wire form of `JetStream` publishes: headers of an atomic batch (ADR-50) and the answers.
//!
//! Written out here because the one library for batches refuses message ids in them and follows
//! another version of the client. Invariant: what is not clearly an acknowledgement is none.

use async_nats::{
    HeaderMap, StatusCode,
    header::{NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE},
};
use serde::Deserialize;

use super::commits::Place;

/// Marks `headers` as those of a message of a batch. `prefix` tells our batches from those of others; an
/// id has 64 characters at most.
pub(super) fn mark(headers: &mut HeaderMap, prefix: &str, place: Place) {
    headers.insert(NATS_BATCH_ID, format!("{prefix}{}", place.batch));
    headers.insert(NATS_BATCH_SEQUENCE, place.n.to_string());
    if place.commits {
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
    }
}

/// The broker's answer to a message, or to the commit of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stored on disk, as the broker understands it.
    Stored {
        /// Sequence of the message, or of the last of the batch.
        sequence: u64,
        /// The id was known and nothing was added.
        duplicate: bool,
        /// Messages of the batch; 1 without one.
        count: usize,
    },
    /// Staged as part of a batch that is not committed yet.
    Staged,
    /// No stream takes the subject.
    NoStream,
    /// Refused with this error code; nothing was stored.
    Refused(u64),
    /// Not an answer we understand.
    Garbled,
}

/// Reads an answer.
pub(super) fn read(status: Option<StatusCode>, payload: &[u8]) -> Answer {
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

/// Sequence of message `n` (from 0) of a batch of `count` whose last has the sequence `last`: the
/// broker stores a batch without a gap.
pub(super) fn sequence_in_batch(last: u64, count: usize, n: usize) -> u64 {
    (last + 1 + n as u64).saturating_sub(count as u64)
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderName;

    use super::*;

    #[test]
    fn answers_as_a_real_server_gives_them() {
        // The first five are nats-server 2.15.1's own words.
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
            assert_eq!(read(None, payload.as_bytes()), expected, "{payload}");
        }
        assert_eq!(read(Some(StatusCode::NO_RESPONDERS), b""), Answer::NoStream);
    }

    #[test]
    fn a_batch_ends_at_its_last_sequence() {
        assert_eq!((0..4).map(|n| sequence_in_batch(9, 4, n)).collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert_eq!(sequence_in_batch(1, 1, 0), 1);
    }

    #[test]
    fn only_the_last_message_commits() {
        for (n, commits) in [(1, false), (2, false), (3, true)] {
            let mut headers = HeaderMap::new();
            mark(&mut headers, "_INBOX.x.", Place { batch: 7, n, commits });
            let text = |name: HeaderName| headers.get(name).map(ToString::to_string);
            assert_eq!(text(NATS_BATCH_ID).as_deref(), Some("_INBOX.x.7"));
            assert_eq!(text(NATS_BATCH_SEQUENCE), Some(n.to_string()));
            assert_eq!(text(NATS_BATCH_COMMIT).is_some(), commits);
        }
    }
}
