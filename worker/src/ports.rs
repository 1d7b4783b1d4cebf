//! The world outside this process, as far as ingestion and the role `transcripts` need it: broker, database,
//! API, clock and random numbers.
//!
//! Each trait has two implementations: the real one ([`Context`](crate::Context) and [`ElevenLabs`]), and the
//! one of the simulation in `tests/simulation`, which can fail at each of these methods. All decisions
//! between two calls are made by the callers, so the simulation runs them unchanged.
//!
//! [`ElevenLabs`]: crate::elevenlabs::ElevenLabs

use std::time::Duration;

use aftercall_common::process::{success_log::SuccessLog, trace::Tracer};
use async_nats::{Error, jetstream::AckKind};
use bytes::Bytes;
use jiff::Timestamp;
use rand::RngExt as _;

use crate::{
    broker::{large_bodies::BodyError, message::StreamMessage, transcript_jobs::Job},
    domain::{cause::Cause, event::ConversationId},
    elevenlabs::{ApiError, Conversation},
    metrics::Metrics,
    retry::Pauses,
    store::{Calls, StoreError},
};

/// Delay after which the broker delivers a message again because it could not be processed now. Short,
/// because a delayed message counts as unacknowledged, and their number is limited.
pub const REDELIVER_AFTER: Duration = Duration::from_secs(2);

/// Broker, database, clock, random numbers, metrics, traces and the bound on log lines.
pub trait Ports: Send + Sync + 'static {
    /// A message of the broker.
    type Message: StreamMessage;
    /// The calls in the database.
    type Calls: Calls;

    /// The calls in the database.
    fn calls(&self) -> &Self::Calls;

    /// The metrics of this process.
    fn metrics(&self) -> &Metrics;

    /// The traces of this process.
    fn tracer(&self) -> &Tracer;

    /// The bound on the log lines of applied events.
    fn successes(&self) -> &SuccessLog;

    /// The time now.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A random number from 0 to 1.
    fn random(&self) -> f64 {
        rand::rng().random_range(0.0..1.0)
    }

    /// Pauses between attempts, from about `first` to about `most`, without end.
    fn pauses(&self, first: Duration, most: Duration) -> Pauses {
        Pauses::endless(first, most)
    }

    /// Reads a body from the object store.
    fn fetch_body(&self, object: &str) -> impl Future<Output = Result<Bytes, BodyError>> + Send;

    /// Stores the first job to fetch the transcript of a conversation. Has no effect if it was stored shortly
    /// before. `trace` is the trace context of the job.
    fn enqueue_job(
        &self,
        conversation: &ConversationId,
        trace: Option<&str>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores the first job to fetch the recording of a conversation, if `RECORDINGS` is `fetch`. It replaces a job
    /// that waits. `trace` is the trace context of the job.
    fn enqueue_recording(
        &self,
        conversation: &ConversationId,
        trace: Option<&str>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores `job`, which the broker delivers `at` this time.
    fn schedule_job(&self, job: &Job, at: Timestamp) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores a copy of `message` in `DEAD_LETTERS`, because `consumer` cannot process it.
    fn dead_letter(
        &self,
        consumer: &'static str,
        message: &Self::Message,
        cause: &Cause,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The number of unfinished attempts to process each of these webhooks, in the order of `ids`.
    fn attempts(&self, ids: &[String]) -> impl Future<Output = Result<Vec<u32>, StoreError>> + Send;

    /// Records durably that the attempt with this number begins for these webhooks. Can be repeated.
    fn begin_attempt(
        &self,
        ids: &[String],
        attempt: u32,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the records of these webhooks, because the attempt has ended.
    fn end_attempt(&self, ids: &[String]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Sends the broker an acknowledgement of `message`. A lost acknowledgement is no error: the broker
    /// delivers the message again.
    fn acknowledge(&self, message: &Self::Message, kind: AckKind) -> impl Future<Output = ()> + Send;
}

/// The ElevenLabs API, as far as fetching a transcript needs it.
pub trait TranscriptApi: Send + Sync + 'static {
    /// How long no request may be sent. `None` if requests may be sent now.
    fn closed_for(&self) -> Option<Duration>;

    /// Fetches a conversation.
    fn conversation(
        &self,
        id: &ConversationId,
    ) -> impl Future<Output = Result<Conversation, ApiError>> + Send;
}
