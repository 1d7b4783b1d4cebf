//! What the worker counts, and what [`crate::gauges`] looks at. Labels are closed sets: statuses, reasons,
//! outcomes. What an alert watches is there from the start, at zero: Prometheus does not see a counter's
//! first step otherwise. `deploy/METRICS.md` explains each.

mod labels;

use std::{sync::Arc, time::Duration};

use aftercall_common::stream::consumer;
use jiff::Timestamp;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use self::labels::{
    API_OUTCOMES, ByConsumer, ByFailure, ByFamily, ByOutcome, ByReason, ByStatus, ByStream, DEAD_REASONS,
    STORE_OUTCOMES,
};
use crate::{
    call::{FAILURE_CLASSES, Status},
    event::FOREIGN_FAMILIES,
    reconcile::{Reason, Report},
};

/// The worker's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Family<ByStatus, Counter>,
    failures: Family<ByFailure, Counter>,
    redeliveries: Family<ByConsumer, Counter>,
    early: Counter,
    dead_letters: Family<ByReason, Counter>,
    foreign: Family<ByFamily, Counter>,
    transcripts: Family<ByOutcome, Counter>,
    lookups: Family<ByOutcome, Counter>,
    placements: Family<ByOutcome, Counter>,
    reconciliations: Family<ByOutcome, Counter>,
    reconciled: Family<ByReason, Counter>,
    conversations: Counter,
    unusable: Counter,
    stream_losses: Counter,
    last_reconciliation: Gauge,
    registration: Family<ByReason, Gauge>,
    console_logins: Family<ByOutcome, Counter>,
    api: Family<ByOutcome, Counter>,
    api_seconds: Histogram,
    store_retries: Counter,
    store_seconds: Family<ByOutcome, Histogram, fn() -> Histogram>,
    age: Histogram,
    transcript_delay: Histogram,
    batch_size: Histogram,
    batch_duration: Histogram,
    broker_connected: Gauge,
    database_connected: Gauge,
    pending: Family<ByConsumer, Gauge>,
    ack_pending: Family<ByConsumer, Gauge>,
    stream_messages: Family<ByStream, Gauge>,
    stream_bytes: Family<ByStream, Gauge>,
    transcripts_owed: Gauge,
    oldest_owed: Gauge,
}

impl Metrics {
    /// Creates the metrics and registers them, under the prefix `aftercall`.
    pub fn register(registry: &mut Registry) -> Self {
        let inner = Inner {
            events: Family::default(),
            failures: Family::default(),
            redeliveries: Family::default(),
            early: Counter::default(),
            dead_letters: Family::default(),
            foreign: Family::default(),
            transcripts: Family::default(),
            lookups: Family::default(),
            placements: Family::default(),
            reconciliations: Family::default(),
            reconciled: Family::default(),
            conversations: Counter::default(),
            unusable: Counter::default(),
            stream_losses: Counter::default(),
            last_reconciliation: Gauge::default(),
            registration: Family::default(),
            console_logins: Family::default(),
            api: Family::default(),
            api_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            store_retries: Counter::default(),
            store_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
            }),
            age: Histogram::new(exponential_buckets(0.001, 2.0, 22)), // 1 ms to 35 min
            transcript_delay: Histogram::new(exponential_buckets(1.0, 2.0, 18)), // 1 s to 36 h
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            batch_duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            broker_connected: Gauge::default(),
            database_connected: Gauge::default(),
            pending: Family::default(),
            ack_pending: Family::default(),
            stream_messages: Family::default(),
            stream_bytes: Family::default(),
            transcripts_owed: Gauge::default(),
            oldest_owed: Gauge::default(),
        };
        inner.begin();
        inner.register(registry);
        Self(Arc::new(inner))
    }
}

impl Inner {
    /// Makes the series that alerts watch.
    fn begin(&self) {
        for status in Status::ALL {
            drop(self.events.get_or_create(&ByStatus { status: status.as_str() }));
            if status.is_failure() {
                for reason in FAILURE_CLASSES {
                    drop(self.failures.get_or_create(&ByFailure { status: status.as_str(), reason }));
                }
            }
        }
        drop(self.events.get_or_create(&ByStatus { status: "none" }));
        for reason in DEAD_REASONS {
            drop(self.dead_letters.get_or_create(&ByReason { reason }));
        }
        for family in FOREIGN_FAMILIES {
            drop(self.foreign.get_or_create(&ByFamily { family }));
        }
        for outcome in ["saved", "unavailable", "waiting"] {
            drop(self.transcripts.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in ["complete", "failed"] {
            drop(self.reconciliations.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in ["opened", "wrong", "delayed"] {
            drop(self.console_logins.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in API_OUTCOMES {
            drop(self.api.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in STORE_OUTCOMES {
            drop(self.store_seconds.get_or_create(&ByOutcome { outcome }));
        }
        for consumer in [consumer::STATUS, consumer::TRANSCRIPTS] {
            drop(self.redeliveries.get_or_create(&ByConsumer { consumer }));
        }
        drop(self.lookups.get_or_create(&ByOutcome { outcome: "ok" }));
        drop(self.placements.get_or_create(&ByOutcome { outcome: "placed" }));
        for reason in Reason::ALL {
            drop(self.reconciled.get_or_create(&ByReason { reason: reason.as_str() }));
        }
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("aftercall");
        registry.register("events_applied", "Events applied, by the status they claim", self.events.clone());
        registry.register(
            "call_failures",
            "Events that tell of a failure, by status and class of the reason",
            self.failures.clone(),
        );
        registry.register("redeliveries", "Messages that came again, by consumer", self.redeliveries.clone());
        registry.register(
            "events_applied_early",
            "Events shown before their turn in a backlog",
            self.early.clone(),
        );
        registry.register("dead_letters", "Messages buried, by reason", self.dead_letters.clone());
        registry.register(
            "foreign_webhooks",
            "Webhooks passed over since they do not concern a call, by family",
            self.foreign.clone(),
        );
        registry.register("transcripts", "Transcript jobs done, by outcome", self.transcripts.clone());
        registry.register("status_lookups", "Status lookups answered, by outcome", self.lookups.clone());
        registry.register("placements", "Calls asked for, by outcome", self.placements.clone());
        self.register_reconciliation(registry);
        registry.register(
            "webhook_registration_problems",
            "1 for what is wrong with the webhook at ElevenLabs",
            self.registration.clone(),
        );
        registry.register("console_logins", "Logins at the console, by outcome", self.console_logins.clone());
        registry.register("elevenlabs_answers", "Answers of the ElevenLabs API, by class", self.api.clone());
        registry.register(
            "store_retries",
            "Batches written again since MongoDB did not take them",
            self.store_retries.clone(),
        );
        registry.register_with_unit(
            "elevenlabs_request_duration",
            "Time of one request to the ElevenLabs API",
            Unit::Seconds,
            self.api_seconds.clone(),
        );
        registry.register_with_unit(
            "mongodb_operation_duration",
            "Time of one operation of the database, by outcome",
            Unit::Seconds,
            self.store_seconds.clone(),
        );
        registry.register_with_unit(
            "transcript_delay",
            "Time from when a transcript was owed to when it was saved",
            Unit::Seconds,
            self.transcript_delay.clone(),
        );
        registry.register_with_unit(
            "webhook_age",
            "Time from the gateway's receipt of a webhook to its document",
            Unit::Seconds,
            self.age.clone(),
        );
        registry.register("batch_messages", "Messages in a batch", self.batch_size.clone());
        registry.register_with_unit(
            "batch_duration",
            "Time from the pull of a batch to its settlement",
            Unit::Seconds,
            self.batch_duration.clone(),
        );
        registry.register("broker_connected", "1 while connected to NATS", self.broker_connected.clone());
        registry.register("mongodb_connected", "1 while MongoDB answers", self.database_connected.clone());
        registry.register("consumer_pending", "Messages not delivered yet", self.pending.clone());
        registry.register(
            "consumer_ack_pending",
            "Messages delivered and not settled yet",
            self.ack_pending.clone(),
        );
        registry.register("stream_messages", "Messages stored", self.stream_messages.clone());
        registry.register("stream_bytes", "Bytes stored", self.stream_bytes.clone());
        registry.register(
            "transcripts_owed",
            "Calls whose transcript is owed",
            self.transcripts_owed.clone(),
        );
        registry.register_with_unit(
            "transcript_oldest_owed_age",
            "How long the oldest of them has been owed, 0 without any",
            Unit::Seconds,
            self.oldest_owed.clone(),
        );
    }

    fn register_reconciliation(&self, registry: &mut Registry) {
        registry.register("reconciliations", "Passes, by outcome", self.reconciliations.clone());
        registry.register("reconciled_events", "Events made up for, by reason", self.reconciled.clone());
        registry.register("reconciled_conversations", "Conversations looked at", self.conversations.clone());
        registry.register(
            "unusable_conversations",
            "Conversations that reconciliation could not use as ElevenLabs gives them",
            self.unusable.clone(),
        );
        registry.register(
            "stream_losses",
            "Times the broker was found to have lost stored webhooks",
            self.stream_losses.clone(),
        );
        registry.register_with_unit(
            "last_reconciliation_timestamp",
            "Unix time at which the last complete pass of this process began",
            Unit::Seconds,
            self.last_reconciliation.clone(),
        );
    }
}

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
