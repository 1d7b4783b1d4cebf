//! The queue of dead letters, with a limit for the time that a page waits for the broker.

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::{self, consumer};
use async_nats::jetstream;
use axum::{
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
    response::Response,
};

use crate::{
    dead_letters::{BrokerUnavailable, DeadLetterQueue, DeadLetterView},
    roles::console::{pages::shell, state::Console},
};

/// Address of the section to which the pages belong.
pub const SECTION: &str = "/dead-letters";
/// Longest time that a page waits for an answer of the broker.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for an answer of the broker. `None`: it did not answer in time.
pub async fn within_timeout<T>(answer: impl Future<Output = Result<T, BrokerUnavailable>>) -> Option<T> {
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::info!(%error, "a page of the console could not be shown because NATS did not answer");
            None
        }
        Err(_elapsed) => None,
    }
}

/// Opens the queue and runs `query` on it. `None`: the broker did not answer in time.
pub async fn query<T>(
    jetstream: &jetstream::Context,
    query: impl AsyncFnOnce(&DeadLetterQueue) -> Result<T, BrokerUnavailable>,
) -> Option<T> {
    within_timeout(async { query(&DeadLetterQueue::open(jetstream).await?).await }).await
}

/// Whether a worker has processed the message `sequence` of `stream` and all messages before it. `false` if the broker
/// does not answer in time.
pub async fn is_acknowledged(jetstream: &jetstream::Context, stream: &str, sequence: u64) -> bool {
    let name = if stream == streams::TRANSCRIPTS { consumer::TRANSCRIPTS } else { consumer::STATUS };
    let floor = within_timeout(async {
        let found = jetstream.get_stream(stream).await.map_err(BrokerUnavailable::new)?;
        let consumer = found.consumer_info(name).await.map_err(BrokerUnavailable::new)?;
        Ok(consumer.ack_floor.stream_sequence)
    });
    floor.await.is_some_and(|floor| floor >= sequence)
}

/// Why a dead letter is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is no longer in the queue.
    Gone,
    /// The broker does not answer.
    Unavailable,
}

impl Missing {
    /// The page that says so.
    pub fn page(self, console: &Console) -> Response {
        match self {
            Self::Gone => not_found(console),
            Self::Unavailable => shell::broker_unavailable(console, SECTION),
        }
    }
}

/// The number of a dead letter in the path of an address.
pub struct Number(pub u64);

impl FromRequestParts<Arc<Console>> for Number {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        let number = Path::<u64>::from_request_parts(parts, console).await;
        number.map(|Path(number)| Self(number)).map_err(|_error| not_found(console))
    }
}

/// The dead letter `number`.
///
/// # Errors
/// It is not there.
pub async fn letter(console: &Arc<Console>, number: u64) -> Result<DeadLetterView, Missing> {
    if !console.health().nats {
        return Err(Missing::Unavailable);
    }
    match query(&console.context.jetstream, async |queue| queue.get(number).await).await {
        Some(Some(letter)) => Ok(letter),
        Some(None) => Err(Missing::Gone),
        None => Err(Missing::Unavailable),
    }
}

/// The page for a dead letter that is no longer in the queue.
pub fn not_found(console: &Console) -> Response {
    let text = "It was sent again or deleted, or it has expired.";
    shell::message(console, SECTION, StatusCode::NOT_FOUND, "This dead letter no longer exists", text)
}
