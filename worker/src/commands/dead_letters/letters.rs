//! Reads dead letters from their stream.

use aftercall_common::contract::streams;
use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;

use super::options::Selection;
use crate::{Context, dead_letters::DeadLetter};

/// The stream of dead letters.
pub async fn stream(context: &Context) -> anyhow::Result<Stream> {
    let stream = context.jetstream.get_stream(streams::DEAD_LETTERS).await;
    stream.with_context(|| format!("stream {} cannot be read", streams::DEAD_LETTERS))
}

/// The first dead letter whose number is `from` or higher. `None`: the stream ends before `from`.
pub async fn next(stream: &Stream, from: u64) -> anyhow::Result<Option<DeadLetter>> {
    DeadLetter::next(stream, from).await.map_err(unavailable)
}

/// The dead letter `number`. `None`: it does not exist.
pub async fn find(stream: &Stream, number: u64) -> anyhow::Result<Option<DeadLetter>> {
    DeadLetter::at(stream, number).await.map_err(unavailable)
}

/// The dead letter `number`.
///
/// # Errors
/// It does not exist, or the broker does not answer.
pub async fn get(stream: &Stream, number: u64) -> anyhow::Result<DeadLetter> {
    find(stream, number).await?.with_context(|| format!("there is no dead letter number {number}"))
}

/// The numbers of the selected dead letters.
///
/// # Errors
/// A selected number does not exist, or the broker does not answer.
pub async fn selected(stream: &Stream, which: &Selection) -> anyhow::Result<Vec<u64>> {
    for number in &which.numbers {
        get(stream, *number).await?;
    }
    if !which.numbers.is_empty() {
        return Ok(which.numbers.clone());
    }
    let (mut from, mut selected) = (1, Vec::new());
    while let Some(letter) = next(stream, from).await? {
        from = letter.0.sequence + 1;
        if which.filter.matches(&letter) {
            selected.push(letter.0.sequence);
        }
    }
    Ok(selected)
}

fn unavailable(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("NATS does not answer: {error}")
}
