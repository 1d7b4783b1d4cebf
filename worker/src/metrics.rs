//! What the worker counts, and what [`crate::roles::gauges`] looks at. Labels are closed sets: statuses, reasons,
//! outcomes. What an alert watches is there from the start, at zero: Prometheus does not see a counter's
//! first step otherwise. `deploy/METRICS.md` explains each.

mod counting;
mod labels;

use std::sync::Arc;

use aftercall_common::contract::streams::consumer;
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
use crate::domain::{
    call::{FAILURE_CLASSES, Status},
    event::FOREIGN_FAMILIES,
    reconciliation::Reason,
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
