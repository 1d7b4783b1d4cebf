//! Dead letters as the console handles them: a page at a time, one by one.

use aftercall_common::contract::streams::{self, header};
use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    message::Letter,
    redrive::{self, NotSent, Sent},
};

/// Letters on a page.
pub const PAGE: usize = 50;
/// Letters looked through for one that came of a message.
const LOOKED_THROUGH: usize = 200;

/// The broker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not answer: {0}")]
pub struct Silent(String);

impl Silent {
    /// In the client's words.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub fn new(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// A letter, as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its number.
    pub number: u64,
    /// When it was buried.
    pub buried_at: Timestamp,
    /// Stable label.
    pub reason: String,
    /// A sentence.
    pub detail: String,
    /// How often it was delivered.
    pub attempts: String,
    /// The stream and the sequence it came from.
    pub origin: (String, String),
    /// The subject it came from.
    pub subject: String,
    /// When the gateway took it in.
    pub received_at: String,
    /// Who sent it.
    pub source_ip: String,
    /// What the gateway found of its signature.
    pub signature: String,
    /// Bytes of its body.
    pub bytes: usize,
    /// The object that holds its body, where that is not in the message.
    pub object: Option<String>,
    /// Its body, where that is in the message.
    pub body: Bytes,
}

impl From<Letter> for Shown {
    fn from(letter: Letter) -> Self {
        let text = |name: &str| letter.header(name).to_owned();
        Self {
            number: letter.0.sequence,
            buried_at: letter.buried_at(),
            reason: text(header::DEAD_REASON),
            detail: text(header::DEAD_DETAIL),
            attempts: text(header::DEAD_ATTEMPTS),
            origin: (text(header::DEAD_STREAM), text(header::DEAD_SEQUENCE)),
            subject: text(header::DEAD_SUBJECT),
            received_at: text(header::RECEIVED_AT),
            source_ip: text(header::SOURCE_IP),
            signature: text(header::SIGNATURE),
            bytes: letter.bytes(),
            object: Some(text(header::BODY_OBJECT)).filter(|name| !name.is_empty()),
            body: letter.0.payload.clone(),
        }
    }
}

/// The stream of dead letters, open.
pub struct Desk {
    graves: Stream,
    context: jetstream::Context,
}

impl Desk {
    /// Opens the stream.
    pub async fn open(context: &jetstream::Context) -> Result<Self, Silent> {
        let graves = context.get_stream(streams::DEAD_LETTERS).await.map_err(Silent::new)?;
        Ok(Self { graves, context: context.clone() })
    }

    /// The number after the last.
    pub fn end(&self) -> u64 {
        self.graves.cached_info().state.last_sequence + 1
    }

    /// Letters there are.
    pub fn count(&self) -> u64 {
        self.graves.cached_info().state.messages
    }

    /// The latest [`PAGE`] letters before number `end`, the newest first, and whether there are more.
    pub async fn page(&self, end: u64) -> Result<(Vec<Shown>, bool), Silent> {
        let first = self.graves.cached_info().state.first_sequence;
        let (mut width, mut found) = (PAGE as u64, Vec::new());
        let mut upper = end.min(self.end());
        // Numbers have gaps where letters were taken away, which is most of them in the end.
        while found.len() <= PAGE && upper > first {
            let lower = upper.saturating_sub(width).max(first);
            let mut letters = self.between(lower, upper).await?;
            letters.reverse();
            found.extend(letters);
            (upper, width) = (lower, width.saturating_mul(2));
        }
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        Ok((found, more))
    }

    async fn between(&self, lower: u64, upper: u64) -> Result<Vec<Shown>, Silent> {
        let (mut next, mut found) = (lower, Vec::new());
        while next < upper
            && let Some(letter) = self.next(next).await?.filter(|letter| letter.0.sequence < upper)
        {
            next = letter.0.sequence + 1;
            found.push(letter.into());
        }
        Ok(found)
    }

    /// The letter `number`.
    pub async fn letter(&self, number: u64) -> Result<Option<Shown>, Silent> {
        Ok(self.next(number).await?.filter(|letter| letter.0.sequence == number).map(Shown::from))
    }

    /// Sends the letter `number` to where it came from, with another body if one is given. `None`
    /// where it is gone.
    pub async fn send(
        &self,
        number: u64,
        body: Option<Bytes>,
    ) -> Result<Option<Result<Sent, NotSent>>, Silent> {
        let Some(letter) = self.next(number).await?.filter(|letter| letter.0.sequence == number) else {
            return Ok(None);
        };
        Ok(Some(redrive::send(&self.context, &self.graves, letter, body).await))
    }

    /// Removes the letter `number` for good; whether it was there.
    pub async fn remove(&self, number: u64) -> Result<bool, Silent> {
        if self.letter(number).await?.is_none() {
            return Ok(false);
        }
        self.graves.delete_message(number).await.map_err(Silent::new)
    }

    /// The letter, at or behind number `from`, that the message `sequence` of `stream` became.
    pub async fn of_message(&self, stream: &str, sequence: u64, from: u64) -> Result<Option<Shown>, Silent> {
        let (mut next, sequence) = (from, sequence.to_string());
        for _ in 0..LOOKED_THROUGH {
            let Some(letter) = self.next(next).await? else { break };
            next = letter.0.sequence + 1;
            if letter.header(header::DEAD_STREAM) == stream
                && letter.header(header::DEAD_SEQUENCE) == sequence
            {
                return Ok(Some(letter.into()));
            }
        }
        Ok(None)
    }

    async fn next(&self, from: u64) -> Result<Option<Letter>, Silent> {
        Letter::next(&self.graves, from).await.map_err(Silent::new)
    }
}
