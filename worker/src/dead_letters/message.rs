//! A dead letter as it lies in its stream, and the message it becomes again. Pure but for the reading.

use aftercall_common::contract::streams::header;
use async_nats::{
    HeaderMap,
    header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID},
    jetstream::{
        message::StreamMessage,
        stream::{DirectGetErrorKind, Stream},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::origin::{Origin, Unsendable, is_kept, origin};
use crate::domain::time::rfc3339;

/// Every subject of the stream.
const ALL: &str = "dead-letters.>";

/// One dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Letter(pub StreamMessage);

impl Letter {
    /// The first letter at or behind `sequence`.
    pub(crate) async fn next(stream: &Stream, sequence: u64) -> Result<Option<Self>, async_nats::Error> {
        match stream.direct_get_next_for_subject(ALL, Some(sequence)).await {
            Ok(message) => Ok(Some(Self(message))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The letter at `sequence`.
    pub(crate) async fn at(stream: &Stream, sequence: u64) -> Result<Option<Self>, async_nats::Error> {
        Ok(Self::next(stream, sequence).await?.filter(|letter| letter.0.sequence == sequence))
    }

    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.0.headers.get(name).map_or("", async_nats::HeaderValue::as_str)
    }

    /// When it was buried.
    pub(crate) fn buried_at(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.0.time.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When the gateway accepted it; the header as it is where it holds no time.
    fn received_at(&self) -> String {
        let text = self.header(header::RECEIVED_AT);
        text.parse().map_or_else(|_error| text.to_owned(), rfc3339)
    }

    /// Bytes of its body, which may be in the object store.
    pub(crate) fn bytes(&self) -> usize {
        self.header(header::BODY_BYTES).parse().unwrap_or(self.0.payload.len())
    }

    /// Where it was, and its headers when it goes there again: those of [`is_kept`], and an id that is the same
    /// however often this letter is replayed, yet not the one the broker may remember.
    pub(crate) fn again(&self) -> Result<(Origin, HeaderMap), Unsendable> {
        let [stream, sequence, subject] =
            [header::DEAD_STREAM, header::DEAD_SEQUENCE, header::DEAD_SUBJECT].map(|name| self.header(name));
        let origin = origin(stream, sequence, subject)?;
        let own = self.0.headers.iter().filter(|(name, _)| is_kept(name.as_ref()));
        let mut headers: HeaderMap = own
            .flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone())))
            .collect();
        let id = format!("replayed:{}:{}", origin.stream, origin.sequence);
        headers.insert(NATS_MESSAGE_ID, id.as_str());
        // Another stream that took the subject would acknowledge it too.
        headers.insert(NATS_EXPECTED_STREAM, origin.stream);
        Ok((origin, headers))
    }

    /// All that is known of it, without its body.
    pub(crate) fn json(&self) -> Value {
        json!({
            "sequence": self.0.sequence,
            "buriedAt": rfc3339(self.buried_at()),
            "reason": self.header(header::DEAD_REASON),
            "detail": self.header(header::DEAD_DETAIL),
            "attempts": self.header(header::DEAD_ATTEMPTS).parse::<u64>().ok(),
            "originId": self.header(header::DEAD_ID),
            "originStream": self.header(header::DEAD_STREAM),
            "originSequence": self.header(header::DEAD_SEQUENCE).parse::<u64>().ok(),
            "originSubject": self.header(header::DEAD_SUBJECT),
            "receivedAt": self.received_at(),
            "bodyObject": Some(self.header(header::BODY_OBJECT)).filter(|name| !name.is_empty()),
            "bytes": self.bytes(),
        })
    }
}
