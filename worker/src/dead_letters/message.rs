//! A dead letter in its stream, and the message that is sent when it is redriven.

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

use super::origin::{NotRedrivable, Origin, is_kept, origin};
use crate::{broker::time::timestamp, domain::time::rfc3339};

/// Begin of the id of a message that was sent again.
const REDRIVEN_ID: &str = "replayed:";
/// All subjects of the stream.
const ALL_SUBJECTS: &str = "dead-letters.>";

/// One dead letter.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter(pub StreamMessage);

impl DeadLetter {
    /// The first dead letter from `sequence` on. `None` if the stream has no further one.
    pub(crate) async fn next(stream: &Stream, sequence: u64) -> Result<Option<Self>, async_nats::Error> {
        match stream.direct_get_next_for_subject(ALL_SUBJECTS, Some(sequence)).await {
            Ok(message) => Ok(Some(Self(message))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The dead letter at `sequence`. `None` if it was removed.
    pub(crate) async fn at(stream: &Stream, sequence: u64) -> Result<Option<Self>, async_nats::Error> {
        Ok(Self::next(stream, sequence).await?.filter(|found| found.0.sequence == sequence))
    }

    /// The value of a header. Empty if the dead letter does not have the header.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.0.headers.get(name).map_or("", async_nats::HeaderValue::as_str)
    }

    /// When the message became a dead letter.
    pub(crate) fn dead_lettered_at(&self) -> Timestamp {
        timestamp(self.0.time).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When the gateway accepted the message. If the header holds no time, its unchanged value.
    fn received_at(&self) -> String {
        let text = self.header(header::RECEIVED_AT);
        text.parse().map_or_else(|_error| text.to_owned(), rfc3339)
    }

    /// Whether the message had been sent again, and became a dead letter once more.
    pub(crate) fn was_redriven(&self) -> bool {
        self.header(header::DEAD_ID).starts_with(REDRIVEN_ID)
    }

    /// Bytes of the body, which may be in the object store.
    pub(crate) fn bytes(&self) -> usize {
        self.header(header::BODY_BYTES).parse().unwrap_or(self.0.payload.len())
    }

    /// The origin, and the headers of the redriven message: the headers that [`is_kept`] selects, the
    /// expected stream, and a new id. The id is the same each time the dead letter is redriven. It differs
    /// from the id of the original message, which the broker may still remember.
    ///
    /// # Errors
    /// The dead letter must not be sent again.
    pub(crate) fn redriven(&self) -> Result<(Origin, HeaderMap), NotRedrivable> {
        let [stream, sequence, subject] =
            [header::DEAD_STREAM, header::DEAD_SEQUENCE, header::DEAD_SUBJECT].map(|name| self.header(name));
        let origin = origin(stream, sequence, subject)?;
        let kept = self.0.headers.iter().filter(|(name, _)| is_kept(name.as_ref()));
        let mut headers: HeaderMap = kept
            .flat_map(|(name, values)| values.iter().map(move |value| (name.clone(), value.clone())))
            .collect();
        // The number distinguishes letters of streams that were lost and created again.
        let id = format!("{REDRIVEN_ID}{}:{}:{}", origin.stream, origin.sequence, self.0.sequence);
        headers.insert(NATS_MESSAGE_ID, id.as_str());
        // Without this header, another stream with the same subject could acknowledge the message.
        headers.insert(NATS_EXPECTED_STREAM, origin.stream);
        Ok((origin, headers))
    }

    /// The dead letter without its body, as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "sequence": self.0.sequence,
            "buriedAt": rfc3339(self.dead_lettered_at()),
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
