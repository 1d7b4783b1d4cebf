//! What the worker counts. Labels are closed sets: statuses, reasons, outcomes.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use jiff::Timestamp;

use crate::{call::Status, reconcile::Report};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// The worker's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Family<ByStatus, Counter>,
    dead_letters: Family<ByReason, Counter>,
    transcripts: Family<ByOutcome, Counter>,
    lookups: Family<ByOutcome, Counter>,
    placements: Family<ByOutcome, Counter>,
    reconciliations: Family<ByOutcome, Counter>,
    reconciled: Family<ByReason, Counter>,
    conversations: Counter,
    stream_losses: Counter,
    last_reconciliation: Gauge,
    registration: Family<ByReason, Gauge>,
    api: Family<ByOutcome, Counter>,
    store_retries: Counter,
    age: Histogram,
    batch_size: Histogram,
    batch_duration: Histogram,
}

impl Metrics {
    /// Creates the metrics and registers them, under the prefix `aftercall`.
    pub fn register(registry: &mut Registry) -> Self {
        let inner = Inner {
            events: Family::default(),
            dead_letters: Family::default(),
            transcripts: Family::default(),
            lookups: Family::default(),
            placements: Family::default(),
            reconciliations: Family::default(),
            reconciled: Family::default(),
            conversations: Counter::default(),
            stream_losses: Counter::default(),
            last_reconciliation: Gauge::default(),
            registration: Family::default(),
            api: Family::default(),
            store_retries: Counter::default(),
            age: Histogram::new(exponential_buckets(0.001, 2.0, 22)), // 1 ms to 35 min
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            batch_duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        };
        let registry = registry.sub_registry_with_prefix("aftercall");
        registry.register("events_applied", "Events applied, by the status they claim", inner.events.clone());
        registry.register("dead_letters", "Messages buried, by reason", inner.dead_letters.clone());
        registry.register("transcripts", "Transcript jobs done, by outcome", inner.transcripts.clone());
        registry.register("status_lookups", "Status lookups answered, by outcome", inner.lookups.clone());
        registry.register("placements", "Calls asked for, by outcome", inner.placements.clone());
        registry.register("reconciliations", "Passes, by outcome", inner.reconciliations.clone());
        registry.register("reconciled_events", "Events made up for, by reason", inner.reconciled.clone());
        registry.register("reconciled_conversations", "Conversations looked at", inner.conversations.clone());
        registry.register(
            "stream_losses",
            "Times the broker was found to have lost stored webhooks",
            inner.stream_losses.clone(),
        );
        registry.register_with_unit(
            "last_reconciliation_timestamp",
            "Unix time at which the last complete pass of this process began",
            Unit::Seconds,
            inner.last_reconciliation.clone(),
        );
        registry.register(
            "webhook_registration_problems",
            "1 for what is wrong with the webhook at ElevenLabs",
            inner.registration.clone(),
        );
        registry.register("elevenlabs_answers", "Answers of the ElevenLabs API, by class", inner.api.clone());
        registry.register(
            "store_retries",
            "Batches written again since MongoDB did not take them",
            inner.store_retries.clone(),
        );
        registry.register_with_unit(
            "webhook_age",
            "Time from the broker's receipt of a webhook to its document",
            Unit::Seconds,
            inner.age.clone(),
        );
        registry.register("batch_messages", "Messages in a batch", inner.batch_size.clone());
        registry.register_with_unit(
            "batch_duration",
            "Time from the pull of a batch to its settlement",
            Unit::Seconds,
            inner.batch_duration.clone(),
        );
        Self(Arc::new(inner))
    }

    /// An event became part of its call, `age` after the broker had stored it. Some claim no status.
    pub fn applied(&self, status: Option<Status>, age: Duration) {
        self.0.events.get_or_create(&ByStatus { status: status.map_or("none", Status::as_str) }).inc();
        self.0.age.observe(age.as_secs_f64());
    }

    /// A message was buried.
    pub fn dead_letter(&self, reason: &'static str) {
        self.0.dead_letters.get_or_create(&ByReason { reason }).inc();
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

    /// The API answered; `outcome` is `ok` or the error's class.
    pub fn api_answer(&self, outcome: &'static str) {
        self.0.api.get_or_create(&ByOutcome { outcome }).inc();
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
