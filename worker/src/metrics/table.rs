//! The table of metrics: one row for each.

use std::{hash::Hash, sync::Arc};

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

use super::labels::{
    API_OUTCOMES, ByConsumer, ByEvent, ByFailure, ByFamily, ByOutcome, ByReason, ByState, ByStatus, ByStream,
    LoginOutcome, PassOutcome, STORE_OUTCOMES, TranscriptOutcome,
};
use crate::domain::{
    call::{FAILURE_CLASSES, Status},
    delivery::EventType,
    delivery::{State as EndpointState, attempt::OUTCOMES as DELIVERY_OUTCOMES},
    event::FOREIGN_FAMILIES,
    reason::Reason as DeadLetterReason,
    reconciliation::Reason,
};

/// Declares the struct of all metrics and the function that registers them. A row has the field and its type,
/// the initial metric, its name without prefix and suffixes, its unit if it has one, and its help text.
macro_rules! table {
    ($($field:ident: $type:ty = $metric:expr, $name:literal $(in $unit:ident)?, $help:literal;)*) => {
        #[derive(Debug)]
        pub(super) struct Table { $(pub(super) $field: $type,)* }

        impl Table {
            fn register(registry: &mut Registry) -> Self {
                let table = Self { $($field: $metric,)* };
                $(table!(@register registry, table.$field, $name, $help $(, $unit)?);)*
                table
            }
        }
    };
    (@register $registry:ident, $metric:expr, $name:literal, $help:literal) => {
        $registry.register($name, $help, $metric.clone());
    };
    (@register $registry:ident, $metric:expr, $name:literal, $help:literal, $unit:ident) => {
        $registry.register_with_unit($name, $help, Unit::$unit, $metric.clone());
    };
}

table! {
    // Ingestion.
    events: Family<ByStatus, Counter> = family(event_statuses()),
        "events_applied", "Events applied, by the status they claim";
    failures: Family<ByFailure, Counter> = family(failures()),
        "call_failures", "Events that claim a failure, by status and class of the reason";
    early: Counter = Counter::default(),
        "events_applied_early", "Events applied before their turn in a backlog";
    age: Histogram = histogram(0.001, 22), // From 1 ms to 35 min.
        "webhook_age" in Seconds, "Time from the gateway's receipt of a webhook to its document";
    batch_size: Histogram = histogram(1.0, 10),
        "batch_messages", "Messages in a batch";
    batch_duration: Histogram = histogram(0.001, 16),
        "batch_duration" in Seconds, "Time from the start of a batch to its last acknowledgement";
    redeliveries: Family<ByConsumer, Counter> =
        family([consumer::STATUS, consumer::TRANSCRIPTS].map(|consumer| ByConsumer { consumer })),
        "redeliveries", "Messages that were delivered again, by consumer";
    dead_letters: Family<ByReason, Counter> =
        family(DeadLetterReason::of_dead_letters().map(|reason| ByReason { reason: reason.label() })),
        "dead_letters", "Messages that became dead letters, by reason";
    foreign: Family<ByFamily, Counter> = family(FOREIGN_FAMILIES.map(|family| ByFamily { family })),
        "foreign_webhooks", "Webhooks skipped because they do not concern a call, by family";

    // The database.
    store_retries: Counter = Counter::default(),
        "store_retries", "Batches written again because MongoDB did not accept them";
    store_seconds: Family<ByOutcome, Histogram, fn() -> Histogram> = store_seconds(),
        "mongodb_operation_duration" in Seconds, "Time of one operation of the database, by outcome";

    // Outgoing events.
    outgoing: Family<ByEvent, Counter> = family(EventType::ALL.map(|event| ByEvent { event: event.as_str() })),
        "outgoing_events", "Events published to the stream CALLS, by event";
    outgoing_delay: Histogram = histogram(0.001, 20), // From 1 ms to 9 min.
        "outgoing_event_delay" in Seconds, "Time from the last change of a call to the publication of its event";

    // Transcripts, requests about calls, the console.
    transcripts: Family<ByOutcome, Counter> = family(outcomes(TranscriptOutcome::VALUES)),
        "transcripts", "Transcript jobs processed, by outcome";
    recordings: Family<ByOutcome, Counter> = family(outcomes(TranscriptOutcome::VALUES)),
        "recordings", "Recording jobs processed, by outcome";
    transcript_delay: Histogram = histogram(1.0, 18), // From 1 s to 36 h.
        "transcript_delay" in Seconds, "Time from when a transcript was owed to when it was saved";
    lookups: Family<ByOutcome, Counter> = family(outcomes(&["ok"])),
        "status_lookups", "Status lookups answered, by outcome";
    reads: Family<ByOutcome, Counter> = family(outcomes(&["ok"])),
        "reads", "Requests that read stored calls, parts of large answers included, by outcome";
    placements: Family<ByOutcome, Counter> = family(outcomes(&["placed"])),
        "placements", "Requests to place a call, by outcome";
    console_logins: Family<ByOutcome, Counter> = family(outcomes(LoginOutcome::VALUES)),
        "console_logins", "Logins at the console, by outcome";

    // Deliveries to endpoints.
    delivery_attempts: Family<ByOutcome, Counter> = family(outcomes(&DELIVERY_OUTCOMES)),
        "delivery_attempts", "Attempts to post a message to an endpoint, by outcome";
    delivery_attempt_seconds: Histogram = histogram(0.001, 15), // From 1 ms to 16 s.
        "delivery_attempt_duration" in Seconds, "Time of one attempt to post a message to an endpoint";
    delivery_delay: Histogram = histogram(0.001, 22), // From 1 ms to 35 min.
        "delivery_delay" in Seconds,
        "Time from the storage of a message to its acceptance by an endpoint at the first attempt";
    endpoints: Family<ByState, Gauge> =
        family(EndpointState::ALL.map(|state| ByState { state: state.label() })),
        "endpoints", "Endpoints, by state";
    endpoint_failing: Gauge = Gauge::default(),
        "endpoint_failing_age" in Seconds,
        "Time since which every attempt at the worst active endpoint fails, 0 if none fails";

    // ElevenLabs.
    api: Family<ByOutcome, Counter> = family(outcomes(&API_OUTCOMES)),
        "elevenlabs_answers", "Answers of the ElevenLabs API, by outcome";
    api_seconds: Histogram = histogram(0.01, 12),
        "elevenlabs_request_duration" in Seconds, "Time of one request to the ElevenLabs API";
    registration: Family<ByReason, Gauge> = Family::default(),
        "webhook_registration_problems", "1 for each problem of the webhook at ElevenLabs";

    // Reconciliation.
    reconciliations: Family<ByOutcome, Counter> = family(outcomes(PassOutcome::VALUES)),
        "reconciliations", "Reconciliation passes, by outcome";
    reconciled: Family<ByReason, Counter> =
        family(Reason::ALL.map(|reason| ByReason { reason: reason.as_str() })),
        "reconciled_events", "Missing events published by reconciliation, by reason";
    conversations: Counter = Counter::default(),
        "reconciled_conversations", "Conversations compared by reconciliation";
    unusable: Counter = Counter::default(),
        "unusable_conversations", "Conversations that reconciliation cannot read";
    stream_losses: Counter = Counter::default(),
        "stream_losses", "Times the broker was found to have lost stored webhooks";
    last_reconciliation: Gauge = Gauge::default(),
        "last_reconciliation_timestamp" in Seconds,
        "Unix time at which the last complete pass of this process began";

    // Measured in intervals by the gauges of the roles.
    broker_connected: Gauge = Gauge::default(),
        "broker_connected", "1 while connected to NATS";
    database_connected: Gauge = Gauge::default(),
        "mongodb_connected", "1 while MongoDB answers";
    pending: Family<ByConsumer, Gauge> = Family::default(),
        "consumer_pending", "Messages not delivered yet";
    ack_pending: Family<ByConsumer, Gauge> = Family::default(),
        "consumer_ack_pending", "Messages delivered and not acknowledged yet";
    stream_messages: Family<ByStream, Gauge> = Family::default(),
        "stream_messages", "Messages stored";
    stream_bytes: Family<ByStream, Gauge> = Family::default(),
        "stream_bytes", "Bytes stored";
    transcripts_owed: Gauge = Gauge::default(),
        "transcripts_owed", "Calls whose transcript is owed";
    oldest_owed: Gauge = Gauge::default(),
        "transcript_oldest_owed_age" in Seconds,
        "Time since the oldest owed transcript became owed, 0 if none is owed";
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(pub(super) Arc<Table>);

impl Metrics {
    /// Creates the metrics and registers them with the prefix `aftercall`.
    pub fn register(registry: &mut Registry) -> Self {
        Self(Arc::new(Table::register(registry.sub_registry_with_prefix("aftercall"))))
    }
}

/// A family whose series with these `labels` exist from the start, with the value 0. Alerts need this,
/// because Prometheus does not see the first increase of a counter whose series begins with this increase.
fn family<L: Clone + Hash + Eq, M: Default>(labels: impl IntoIterator<Item = L>) -> Family<L, M> {
    let family = Family::default();
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
    family
}

/// A histogram whose buckets end at `first`, twice `first` and so on.
fn histogram(first: f64, buckets: u16) -> Histogram {
    Histogram::new(exponential_buckets(first, 2.0, buckets))
}

fn store_seconds() -> Family<ByOutcome, Histogram, fn() -> Histogram> {
    let family: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(|| histogram(0.000_5, 16));
    for labels in outcomes(&STORE_OUTCOMES) {
        drop(family.get_or_create(&labels));
    }
    family
}

fn outcomes(values: &'static [&'static str]) -> impl Iterator<Item = ByOutcome> {
    values.iter().map(|outcome| ByOutcome { outcome })
}

/// Every status, and `none` for events without one.
fn event_statuses() -> impl Iterator<Item = ByStatus> {
    let statuses = Status::ALL.into_iter().map(Status::as_str).chain(["none"]);
    statuses.map(|status| ByStatus { status })
}

/// Every status that is a failure, with every class of reasons.
fn failures() -> impl Iterator<Item = ByFailure> {
    let statuses = Status::ALL.into_iter().filter(|status| status.is_failure()).map(Status::as_str);
    statuses.flat_map(|status| FAILURE_CLASSES.map(|reason| ByFailure { status, reason }))
}
