//! The methods that update the metrics.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    labels::{
        ByConsumer, ByEvent, ByFailure, ByFamily, ByOutcome, ByReason, ByState, ByStatus, ByStream,
        LoginOutcome, PassOutcome, TranscriptOutcome,
    },
    table::Metrics,
};
use crate::domain::{
    call::Status,
    delivery::{self, EventType},
    reason::Reason,
    reconciliation::Report,
};

impl Metrics {
    /// Counts an applied event. `status` is the status that the event claims, if any. `failure` is the class
    /// of its failure reason, if the status is a failure. `age` is the time since the gateway received the
    /// webhook.
    pub fn applied(&self, status: Option<Status>, failure: Option<&'static str>, age: Duration) {
        let word = status.map_or("none", Status::as_str);
        self.0.events.get_or_create(&ByStatus { status: word }).inc();
        if let Some(reason) = failure {
            self.0.failures.get_or_create(&ByFailure { status: word, reason }).inc();
        }
        self.0.age.observe(age.as_secs_f64());
    }

    /// Counts a dead letter.
    pub fn dead_letter(&self, reason: Reason) {
        self.0.dead_letters.get_or_create(&ByReason { reason: reason.label() }).inc();
    }

    /// Counts a webhook that was skipped because it does not concern a call.
    pub fn foreign(&self, family: &'static str) {
        self.0.foreign.get_or_create(&ByFamily { family }).inc();
    }

    /// Counts an event that was published to the stream `CALLS`.
    pub fn outgoing_event(&self, event: EventType) {
        self.0.outgoing.get_or_create(&ByEvent { event: event.as_str() }).inc();
    }

    /// Notes the time from the last change of a call to the publication of its event.
    pub fn outgoing_delay(&self, delay: Duration) {
        self.0.outgoing_delay.observe(delay.as_secs_f64());
    }

    /// Counts a processed transcript job.
    pub fn transcript(&self, outcome: TranscriptOutcome) {
        self.0.transcripts.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
    }

    /// Counts an answered lookup. `outcome` is `ok` or the code of the problem.
    pub fn lookup(&self, outcome: &'static str) {
        self.0.lookups.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts a request that reads stored calls. `outcome` is `ok` or the code of the problem.
    pub fn read(&self, outcome: &'static str) {
        self.0.reads.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts a request to place a call. `outcome` is `placed` or the code of the problem.
    pub fn placement(&self, outcome: &'static str) {
        self.0.placements.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts a reconciliation pass.
    pub fn reconciliation(&self, outcome: PassOutcome) {
        self.0.reconciliations.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
    }

    /// Counts the results of a complete pass, which began at `started`.
    pub fn reconciled(&self, report: &Report, started: Timestamp) {
        for finding in &report.findings {
            self.0.reconciled.get_or_create(&ByReason { reason: finding.reason.as_str() }).inc();
        }
        self.0.conversations.inc_by(report.seen as u64);
        self.0.unusable.inc_by(report.unusable.len() as u64);
        self.0.last_reconciliation.set(started.as_second());
    }

    /// Counts one loss of stored webhooks by the broker.
    pub fn stream_loss(&self) {
        self.0.stream_losses.inc();
    }

    /// Sets whether the webhook at ElevenLabs has this `problem`.
    pub fn registration(&self, problem: &'static str, found: bool) {
        self.0.registration.get_or_create(&ByReason { reason: problem }).set(i64::from(found));
    }

    /// Counts a login at the console.
    pub fn console_login(&self, outcome: LoginOutcome) {
        self.0.console_logins.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
    }

    /// Counts and measures an attempt to post a message to an endpoint. `outcome` is the label of the outcome. `time`:
    /// `None` if nothing was sent.
    pub fn delivery_attempt(&self, outcome: &'static str, time: Option<Duration>) {
        self.0.delivery_attempts.get_or_create(&ByOutcome { outcome }).inc();
        if let Some(time) = time {
            self.0.delivery_attempt_seconds.observe(time.as_secs_f64());
        }
    }

    /// Measures the time from the storage of a message to its acceptance at the first attempt.
    pub fn delivery_delay(&self, delay: Duration) {
        self.0.delivery_delay.observe(delay.as_secs_f64());
    }

    /// Sets the number of endpoints in this state.
    pub fn endpoints(&self, state: delivery::State, count: usize) {
        self.0.endpoints.get_or_create(&ByState { state: state.label() }).set(whole(count as u64));
    }

    /// Sets the time since which every attempt at the worst active endpoint fails.
    pub fn longest_failing(&self, time: Duration) {
        self.0.endpoint_failing.set(whole(time.as_secs()));
    }

    /// Counts an answer of the ElevenLabs API. `outcome` is `ok` or the label of the error.
    pub fn api_answer(&self, outcome: &'static str) {
        self.0.api.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Measures a request to the ElevenLabs API.
    pub fn api_time(&self, time: Duration) {
        self.0.api_seconds.observe(time.as_secs_f64());
    }

    /// Measures an operation of the database. `outcome` is `ok` or the label of the error.
    pub fn store_operation(&self, outcome: &'static str, time: Duration) {
        self.0.store_seconds.get_or_create(&ByOutcome { outcome }).observe(time.as_secs_f64());
    }

    /// Counts a recording job.
    pub fn recording(&self, outcome: TranscriptOutcome) {
        self.0.recordings.get_or_create(&ByOutcome { outcome: outcome.as_str() }).inc();
    }

    /// Measures the time from when a transcript was owed to when it was saved.
    pub fn transcript_delay(&self, delay: Duration) {
        self.0.transcript_delay.observe(delay.as_secs_f64());
    }

    /// Counts a message that the broker delivered again to `consumer`.
    pub fn redelivered(&self, consumer: &'static str) {
        self.0.redeliveries.get_or_create(&ByConsumer { consumer }).inc();
    }

    /// Counts events that were applied before their turn.
    pub fn applied_early(&self, events: usize) {
        self.0.early.inc_by(events as u64);
    }

    /// Sets whether broker and database are connected.
    pub fn connected(&self, broker: bool, database: bool) {
        self.0.broker_connected.set(i64::from(broker));
        self.0.database_connected.set(i64::from(database));
    }

    /// Sets the lag of `consumer`: messages not delivered yet, and messages not acknowledged yet.
    pub fn lag(&self, consumer: &'static str, pending: u64, ack_pending: usize) {
        self.0.pending.get_or_create(&ByConsumer { consumer }).set(whole(pending));
        self.0.ack_pending.get_or_create(&ByConsumer { consumer }).set(whole(ack_pending as u64));
    }

    /// Sets the content of a stream.
    pub fn stream(&self, stream: &'static str, messages: u64, bytes: u64) {
        self.0.stream_messages.get_or_create(&ByStream { stream }).set(whole(messages));
        self.0.stream_bytes.get_or_create(&ByStream { stream }).set(whole(bytes));
    }

    /// Sets the number of owed transcripts, and the age of the oldest.
    pub fn owed(&self, transcripts: u64, oldest: Duration) {
        self.0.transcripts_owed.set(whole(transcripts));
        self.0.oldest_owed.set(whole(oldest.as_secs()));
    }

    /// Counts a batch that has to be written again.
    pub fn store_retry(&self) {
        self.0.store_retries.inc();
    }

    /// Measures a batch after its last acknowledgement.
    pub fn batch(&self, messages: usize, duration: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
        self.0.batch_size.observe(messages as f64);
        self.0.batch_duration.observe(duration.as_secs_f64());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
