//! How each metric is counted.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Metrics,
    labels::{ByConsumer, ByFailure, ByFamily, ByOutcome, ByReason, ByStatus, ByStream},
};
use crate::domain::{call::Status, reconciliation::Report};

impl Metrics {
    /// An event became part of its call, `age` after it had come. Some claim no status, and those that claim
    /// a failure have a class of the reason.
    pub fn applied(&self, status: Option<Status>, failure: Option<&'static str>, age: Duration) {
        let word = status.map_or("none", Status::as_str);
        self.0.events.get_or_create(&ByStatus { status: word }).inc();
        if let Some(reason) = failure {
            self.0.failures.get_or_create(&ByFailure { status: word, reason }).inc();
        }
        self.0.age.observe(age.as_secs_f64());
    }

    /// A message was buried.
    pub fn dead_letter(&self, reason: &'static str) {
        self.0.dead_letters.get_or_create(&ByReason { reason }).inc();
    }

    /// A webhook of this family was passed over: it does not concern a call.
    pub fn foreign(&self, family: &'static str) {
        self.0.foreign.get_or_create(&ByFamily { family }).inc();
    }

    /// A transcript job ended as `saved`, `unavailable` or `waiting`.
    pub fn transcript(&self, outcome: &'static str) {
        self.0.transcripts.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// A lookup was answered; `outcome` is `ok` or the refusal's code.
    pub fn lookup(&self, outcome: &'static str) {
        self.0.lookups.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// A call was asked for; `outcome` is `placed` or the problem's code.
    pub fn placement(&self, outcome: &'static str) {
        self.0.placements.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// A pass ended as `complete` or `failed`.
    pub fn reconciliation(&self, outcome: &'static str) {
        self.0.reconciliations.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// What a complete pass, begun at `at`, made up for.
    pub fn reconciled(&self, report: &Report, at: Timestamp) {
        for finding in &report.findings {
            self.0.reconciled.get_or_create(&ByReason { reason: finding.reason.as_str() }).inc();
        }
        self.0.conversations.inc_by(report.seen as u64);
        self.0.unusable.inc_by(report.unusable.len() as u64);
        self.0.last_reconciliation.set(at.as_second());
    }

    /// The broker has lost webhooks that it had stored.
    pub fn stream_loss(&self) {
        self.0.stream_losses.inc();
    }

    /// Whether `problem` was found with the webhook at ElevenLabs.
    pub fn registration(&self, problem: &'static str, found: bool) {
        self.0.registration.get_or_create(&ByReason { reason: problem }).set(i64::from(found));
    }

    /// A login at the console `opened` a session, was `wrong`, or was `delayed`.
    pub fn console_login(&self, outcome: &'static str) {
        self.0.console_logins.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// The API answered; `outcome` is `ok` or the error's class.
    pub fn api_answer(&self, outcome: &'static str) {
        self.0.api.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// A request to the API took so long.
    pub fn api_time(&self, time: Duration) {
        self.0.api_seconds.observe(time.as_secs_f64());
    }

    /// An operation of the database ended as `ok`, `unavailable` or `refused`.
    pub fn store_operation(&self, outcome: &'static str, time: Duration) {
        self.0.store_seconds.get_or_create(&ByOutcome { outcome }).observe(time.as_secs_f64());
    }

    /// A transcript was saved, so long after it was owed.
    pub fn transcript_delay(&self, delay: Duration) {
        self.0.transcript_delay.observe(delay.as_secs_f64());
    }

    /// A message of `consumer` came again.
    pub fn redelivered(&self, consumer: &'static str) {
        self.0.redeliveries.get_or_create(&ByConsumer { consumer }).inc();
    }

    /// So many events were applied before their turn.
    pub fn applied_early(&self, events: usize) {
        self.0.early.inc_by(events as u64);
    }

    /// Whether broker and database can be reached.
    pub fn connected(&self, broker: bool, database: bool) {
        self.0.broker_connected.set(i64::from(broker));
        self.0.database_connected.set(i64::from(database));
    }

    /// What is before a consumer: not delivered yet, and not settled yet.
    pub fn lag(&self, consumer: &'static str, pending: u64, ack_pending: usize) {
        self.0.pending.get_or_create(&ByConsumer { consumer }).set(whole(pending));
        self.0.ack_pending.get_or_create(&ByConsumer { consumer }).set(whole(ack_pending as u64));
    }

    /// What is in a stream.
    pub fn stream(&self, stream: &'static str, messages: u64, bytes: u64) {
        self.0.stream_messages.get_or_create(&ByStream { stream }).set(whole(messages));
        self.0.stream_bytes.get_or_create(&ByStream { stream }).set(whole(bytes));
    }

    /// Transcripts that are owed, and for how long the oldest has been.
    pub fn owed(&self, transcripts: u64, oldest: Duration) {
        self.0.transcripts_owed.set(whole(transcripts));
        self.0.oldest_owed.set(whole(oldest.as_secs()));
    }

    /// A batch has to be written again.
    pub fn store_retry(&self) {
        self.0.store_retries.inc();
    }

    /// A batch of `messages` is settled.
    pub fn batch(&self, messages: usize, duration: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
        self.0.batch_size.observe(messages as f64);
        self.0.batch_duration.observe(duration.as_secs_f64());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
