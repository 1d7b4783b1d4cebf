//! Access to the stream of dead letters for the console: by page, and by number.

use aftercall_common::contract::streams::{self, header};
use async_nats::jetstream::{self, stream::Stream};
use bytes::Bytes;

use super::{
    message::DeadLetter,
    redrive::{RedriveError, Redriven, redrive},
    view::DeadLetterView,
};

/// Dead letters on a page.
pub const PAGE: usize = 50;
/// Most dead letters read by [`DeadLetterQueue::of_message`].
const MAX_SEARCHED: usize = 200;

/// The broker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not answer: {0}")]
pub struct BrokerUnavailable(String);

impl BrokerUnavailable {
    /// Takes the text of the client's error.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub fn new(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// The opened stream of dead letters.
pub struct DeadLetterQueue {
    stream: Stream,
    context: jetstream::Context,
}

impl DeadLetterQueue {
    /// Opens the stream.
    pub async fn open(context: &jetstream::Context) -> Result<Self, BrokerUnavailable> {
        let stream = context.get_stream(streams::DEAD_LETTERS).await.map_err(BrokerUnavailable::new)?;
        Ok(Self { stream, context: context.clone() })
    }

    /// The number after the last dead letter, at the time of opening.
    pub fn end(&self) -> u64 {
        self.stream.cached_info().state.last_sequence + 1
    }

    /// The number of dead letters, at the time of opening.
    pub fn count(&self) -> u64 {
        self.stream.cached_info().state.messages
    }

    /// The latest [`PAGE`] dead letters before number `end`, the newest first, and whether there are older
    /// ones.
    pub async fn page(&self, end: u64) -> Result<(Vec<DeadLetterView>, bool), BrokerUnavailable> {
        let first = self.stream.cached_info().state.first_sequence;
        let (mut width, mut found) = (PAGE as u64, Vec::new());
        let mut upper = end.min(self.end());
        // Removed dead letters leave gaps. After a long time most numbers are gaps, so the searched range
        // doubles.
        while found.len() <= PAGE && upper > first {
            let lower = upper.saturating_sub(width).max(first);
            let mut dead_letters = self.between(lower, upper).await?;
            dead_letters.reverse();
            found.extend(dead_letters);
            (upper, width) = (lower, width.saturating_mul(2));
        }
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        Ok((found, more))
    }

    /// The dead letters from number `lower` up to, but not including, number `upper`.
    async fn between(&self, lower: u64, upper: u64) -> Result<Vec<DeadLetterView>, BrokerUnavailable> {
        let (mut next, mut found) = (lower, Vec::new());
        while next < upper
            && let Some(dead_letter) = self.first_from(next).await?.filter(|found| found.0.sequence < upper)
        {
            next = dead_letter.0.sequence + 1;
            found.push(dead_letter.into());
        }
        Ok(found)
    }

    /// The dead letter with this `number`. `None` if it was removed.
    pub async fn get(&self, number: u64) -> Result<Option<DeadLetterView>, BrokerUnavailable> {
        Ok(self.at(number).await?.map(DeadLetterView::from))
    }

    /// Sends the dead letter with this `number` to its origin, with another `body` if one is given. `None` if
    /// it was removed.
    pub async fn redrive(
        &self,
        number: u64,
        body: Option<Bytes>,
    ) -> Result<Option<Result<Redriven, RedriveError>>, BrokerUnavailable> {
        let Some(dead_letter) = self.at(number).await? else { return Ok(None) };
        Ok(Some(redrive(&self.context, &self.stream, dead_letter, body).await))
    }

    /// Removes the dead letter with this `number`. Returns whether it existed.
    pub async fn remove(&self, number: u64) -> Result<bool, BrokerUnavailable> {
        if self.at(number).await?.is_none() {
            return Ok(false);
        }
        match self.stream.delete_message(number).await {
            Ok(removed) => Ok(removed),
            // Somebody else has removed it meanwhile.
            Err(_) if self.at(number).await?.is_none() => Ok(false),
            Err(error) => Err(BrokerUnavailable::new(error)),
        }
    }

    /// Finds the dead letter of the message `sequence` of `stream`. Searches the first 200 dead letters from
    /// number `from` on. `None` if it is not among them.
    pub async fn of_message(
        &self,
        stream: &str,
        sequence: u64,
        from: u64,
    ) -> Result<Option<DeadLetterView>, BrokerUnavailable> {
        let (mut next, sequence) = (from, sequence.to_string());
        for _ in 0..MAX_SEARCHED {
            let Some(dead_letter) = self.first_from(next).await? else { break };
            next = dead_letter.0.sequence + 1;
            if dead_letter.header(header::DEAD_STREAM) == stream
                && dead_letter.header(header::DEAD_SEQUENCE) == sequence
            {
                return Ok(Some(dead_letter.into()));
            }
        }
        Ok(None)
    }

    async fn at(&self, number: u64) -> Result<Option<DeadLetter>, BrokerUnavailable> {
        DeadLetter::at(&self.stream, number).await.map_err(BrokerUnavailable::new)
    }

    async fn first_from(&self, number: u64) -> Result<Option<DeadLetter>, BrokerUnavailable> {
        DeadLetter::next(&self.stream, number).await.map_err(BrokerUnavailable::new)
    }
}
