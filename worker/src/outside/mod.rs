//! What roles need of the outside: broker, database, API, clock, chance.
//!
//! There are two: the real one ([`Context`], [`ElevenLabs`]), and that of simulations, which breaks at any of
//! these points. What is decided between them is in the roles, and so is simulated.

mod message;

use std::time::Duration;

use aftercall_common::{numbers::Numbers, trace::Tracer};
use async_nats::{
    Error,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;

pub use self::message::Stored;
pub(crate) use self::message::origin;
use crate::{
    Context,
    dead_letters::{self, Cause},
    elevenlabs::{ApiError, Conversation, ElevenLabs},
    event::ConversationId,
    metrics::Metrics,
    pull,
    retry::Pauses,
    status::{self, NoBody},
    store::{Calls, Store, StoreError},
    transcripts::{self, Job},
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

impl Outside for Context {
    type Message = jetstream::Message;
    type Calls = Store;

    fn calls(&self) -> &Store {
        &self.store
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    async fn fetch(&self, object: &str) -> Result<Bytes, NoBody> {
        status::fetch(&self.jetstream, object).await
    }

    async fn owe(&self, conversation: &ConversationId, trace: Option<&str>) -> Result<(), Error> {
        transcripts::owe(&self.jetstream, conversation, trace).await
    }

    async fn later(&self, job: &Job, at: Timestamp) -> Result<(), Error> {
        let due = self.broker_time.of(&self.jetstream, at).await;
        transcripts::later(&self.jetstream, job, due).await
    }

    async fn bury(
        &self,
        consumer: &'static str,
        message: &jetstream::Message,
        cause: &Cause,
    ) -> Result<(), Error> {
        dead_letters::bury(&self.jetstream, consumer, message, cause).await
    }

    async fn attempts(&self, ids: &[String]) -> Result<Vec<u32>, StoreError> {
        self.store.attempts(ids).await
    }

    async fn begin_attempt(&self, ids: &[String], attempt: u32) -> Result<(), StoreError> {
        self.store.begin_attempt(ids, attempt).await
    }

    async fn end_attempt(&self, ids: &[String]) -> Result<(), StoreError> {
        self.store.end_attempt(ids).await
    }

    async fn settle(&self, message: &jetstream::Message, kind: AckKind) {
        pull::settle(message, kind).await;
    }
}

impl Provider for ElevenLabs {
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.gate.closed_until(now)
    }

    async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        Self::conversation(self, id).await
    }
}

/// When a message is to come again whose consequences could not be stored. Short, since a delayed message
/// counts as pending.
pub const REDELIVER_AFTER: Duration = Duration::from_secs(2);

/// Buries `message`, then terminates it. Where it could not be buried it comes again. What does not concern a
/// call is acknowledged and counted instead.
pub async fn give_up<O: Outside>(outside: &O, consumer: &'static str, message: &O::Message, cause: &Cause) {
    if let Some(family) = cause.foreign_family() {
        outside.settle(message, AckKind::Ack).await;
        outside.metrics().foreign(family);
        tracing::debug!(consumer, family, "a webhook does not concern a call; passed over");
        return;
    }
    let reason = cause.label;
    match outside.bury(consumer, message, cause).await {
        Ok(()) => {
            outside.settle(message, AckKind::Term).await;
            outside.metrics().dead_letter(reason);
            let detail = Numbers::Masked.text(&cause.detail);
            tracing::warn!(consumer, reason, %detail, "message is a dead letter");
        }
        Err(error) => {
            tracing::warn!(consumer, reason, %error, "dead letter could not be stored; trying again");
            outside.settle(message, AckKind::Nak(Some(REDELIVER_AFTER))).await;
        }
    }
}
