//! The ports of a real worker: broker, database and API.

use std::time::Duration;

use aftercall_common::process::{success_log::SuccessLog, trace::Tracer};
use async_nats::{
    Error,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use jiff::Timestamp;

use super::Context;
use crate::{
    broker::{
        consumer,
        large_bodies::{self, BodyError},
        transcript_jobs::{self, Job, JobKind},
    },
    config::Recordings,
    dead_letters,
    domain::{cause::Cause, event::ConversationId, time::after},
    elevenlabs::{ApiError, Conversation, ElevenLabs},
    metrics::Metrics,
    ports::{Ports, TranscriptApi},
    store::{Store, StoreError},
};

/// Delay of the first job to fetch a recording. ElevenLabs sends the webhook with the recording beside the one
/// with the transcript, so it usually comes before.
const RECORDING_DELAY: Duration = Duration::from_secs(10);

impl Ports for Context {
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

    fn successes(&self) -> &SuccessLog {
        &self.successes
    }

    async fn fetch_body(&self, object: &str) -> Result<Bytes, BodyError> {
        large_bodies::fetch(&self.jetstream, object).await
    }

    async fn enqueue_job(&self, conversation: &ConversationId, trace: Option<&str>) -> Result<(), Error> {
        transcript_jobs::enqueue_job(&self.jetstream, JobKind::Transcript, conversation, trace, false).await
    }

    async fn enqueue_recording(
        &self,
        conversation: &ConversationId,
        trace: Option<&str>,
    ) -> Result<(), Error> {
        if self.config.recordings != Recordings::Fetch {
            return Ok(());
        }
        let job = Job::first(JobKind::Recording, conversation.clone(), trace);
        self.schedule_job(&job, after(Timestamp::now(), RECORDING_DELAY)).await
    }

    async fn schedule_job(&self, job: &Job, at: Timestamp) -> Result<(), Error> {
        let due = self.broker_time.of(&self.jetstream, at).await;
        transcript_jobs::schedule_job(&self.jetstream, job, due).await
    }

    async fn dead_letter(
        &self,
        consumer: &'static str,
        message: &jetstream::Message,
        cause: &Cause,
    ) -> Result<(), Error> {
        dead_letters::publish(&self.jetstream, consumer, message, cause).await
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

    async fn acknowledge(&self, message: &jetstream::Message, kind: AckKind) {
        consumer::acknowledge(message, kind).await;
    }
}

impl TranscriptApi for ElevenLabs {
    fn closed_for(&self) -> Option<Duration> {
        self.gate.closed_for()
    }

    async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        Self::conversation(self, id).await
    }
}
