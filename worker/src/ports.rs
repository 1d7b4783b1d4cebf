//! What roles need of the outside: broker, database, API, clock, chance.
//!
//! There are two: the real one ([`Context`], [`ElevenLabs`]), and that of simulations, which breaks at any of
//! these points. What is decided between them is in the roles, and so is simulated.

use std::time::Duration;

use aftercall_common::process::trace::Tracer;
use async_nats::{Error, jetstream::AckKind};
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;

use crate::{
    broker::{large_bodies::NoBody, message::Stored, transcript_jobs::Job},
    domain::{cause::Cause, event::ConversationId},
    elevenlabs::{ApiError, Conversation},
    metrics::Metrics,
    retry::Pauses,
    store::{Calls, StoreError},
};

/// Everything that happens outside of this process, but for the API.
pub trait Outside: Send + Sync + 'static {
    /// What is pulled.
    type Message: Stored;
    /// Where calls are kept.
    type Calls: Calls;

    /// Where calls are kept.
    fn calls(&self) -> &Self::Calls;

    /// Counters.
    fn metrics(&self) -> &Metrics;

    /// Traces.
    fn tracer(&self) -> &Tracer;

    /// The time.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Chance: from 0 to 1.
    fn chance(&self) -> f64 {
        rand::rng().random_range(0.0..1.0)
    }

    /// Pauses between tries, without end.
    fn pauses(&self, first: Duration, most: Duration) -> Pauses {
        Pauses::endless(first, most)
    }

    /// Reads the body that is not in its message.
    fn fetch(&self, object: &str) -> impl Future<Output = Result<Bytes, NoBody>> + Send;

    /// Stores the first job to fetch a transcript. Again within a while: no effect.
    fn owe(
        &self,
        conversation: &ConversationId,
        trace: Option<&str>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores `job` to be delivered `at`.
    fn later(&self, job: &Job, at: Timestamp) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores a copy of `message`, which `consumer` gave up, among the dead letters.
    fn bury(
        &self,
        consumer: &'static str,
        message: &Self::Message,
        cause: &Cause,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// How often work on the webhooks of these ids was begun apart and did not end, in their order.
    fn attempts(&self, ids: &[String]) -> impl Future<Output = Result<Vec<u32>, StoreError>> + Send;

    /// Records durably that work on these webhooks begins, for the `attempt`th time. Again: no effect.
    fn begin_attempt(
        &self,
        ids: &[String],
        attempt: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the records of these webhooks: work on them has ended, however.
    fn end_attempt(&self, ids: &[String]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Tells the broker what became of `message`. That it did not hear is no error: the message comes again.
    fn settle(&self, message: &Self::Message, kind: AckKind) -> impl Future<Output = ()> + Send;
}

/// ElevenLabs, as far as a transcript needs it.
pub trait Provider: Send + Sync + 'static {
    /// Until when it takes no requests from us.
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp>;

    /// What it knows of a conversation.
    fn conversation(
        &self,
        id: &ConversationId,
    ) -> impl Future<Output = Result<Conversation, ApiError>> + Send;
}

/// When a message is to come again whose consequences could not be stored. Short, since a delayed message
/// counts as pending.
pub const REDELIVER_AFTER: Duration = Duration::from_secs(2);
