//! What the gateway counts, under the prefix `aftercall`.
//!
//! Invariant: every label takes its values from a closed set, so no sender can make up a series.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Which endpoint.
    pub route: &'static str,
    /// `ok`, or the code of the refusal.
    pub code: &'static str,
}

/// Labels of a webhook's origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OriginLabels {
    /// Which endpoint.
    pub route: &'static str,
    /// `allowed` or `refused`.
    pub source: &'static str,
    /// `verified`, `absent`, `missing`, `invalid`, `expired`, or `unchecked` for what was refused unread.
    pub signature: &'static str,
}

/// Labels of what was taken in although it would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObservedLabels {
    /// Code of the refusal.
    pub code: &'static str,
}

/// Labels of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabels {
    /// `stored`, `duplicate`, or why not.
    pub outcome: &'static str,
}

/// The gateway's metrics. Cheap to clone, all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Connections closed unread, as their source had `MAX_CONNECTIONS_PER_SOURCE` open.
    pub connections_refused: Counter,
    /// Webhooks by what source and signature say of them.
    pub origins: Family<OriginLabels, Counter>,
    /// Webhooks taken in although they would be refused, were `SOURCE_POLICY` not `observe`.
    pub observed: Family<ObservedLabels, Counter>,
    /// Bodies stored in the object store.
    pub claim_checks: Family<PublishLabels, Counter>,
    /// Webhooks handed to the publisher, by what became of them.
    pub publishes: Family<PublishLabels, Counter>,
    /// Webhooks the broker did not take, by what became of them in the spool.
    pub spooled: Family<PublishLabels, Counter>,
    /// Webhooks brought from the spool to the broker.
    pub spool_replayed: Counter,
    /// Webhooks in the spool.
    pub spool_webhooks: Gauge,
    /// Their bytes.
    pub spool_bytes: Gauge,
    /// Messages a commit carried: 1 for a message published alone.
    pub batch_size: Histogram,
    /// Batches the broker refused, whose messages were then published one by one.
    pub batches_refused: Counter,
    /// Times the broker was found to have lost webhooks that it had acknowledged.
    pub broker_losses: Counter,
    /// Seconds from a complete request to the broker's answer, waiting in line included.
    pub publish_seconds: Histogram,
    /// Bytes of bodies held, in whole units of the budget.
    pub bytes_in_flight: Gauge,
    /// 1 while connected to the broker.
    pub connected: Gauge,
}

impl Metrics {
    /// The metrics, and the registry that shows them.
    pub fn new() -> (Self, Registry) {
        let metrics = Self {
            requests: Family::default(),
            connections_refused: Counter::default(),
            origins: Family::default(),
            observed: Family::default(),
            claim_checks: Family::default(),
            publishes: Family::default(),
            spooled: Family::default(),
            spool_replayed: Counter::default(),
            spool_webhooks: Gauge::default(),
            spool_bytes: Gauge::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            batches_refused: Counter::default(),
            broker_losses: Counter::default(),
            publish_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            bytes_in_flight: Gauge::default(),
            connected: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("aftercall");
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "connections_refused",
            "Connections closed unread, their source having MAX_CONNECTIONS_PER_SOURCE open",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "webhook_origins",
            "Webhooks by what source and signature say of them",
            metrics.origins.clone(),
        );
        registry.register(
            "webhooks_observed",
            "Webhooks taken in that would be refused, were SOURCE_POLICY not observe",
            metrics.observed.clone(),
        );
        registry.register(
            "claim_checks",
            "Large bodies by what became of them in the object store",
            metrics.claim_checks.clone(),
        );
        registry.register("publishes", "Webhooks by what became of them", metrics.publishes.clone());
        registry.register(
            "spooled",
            "Webhooks the broker did not take, by what became of them in the spool",
            metrics.spooled.clone(),
        );
        registry.register(
            "spool_replayed",
            "Webhooks brought from the spool to the broker",
            metrics.spool_replayed.clone(),
        );
        registry.register("spool_webhooks", "Webhooks in the spool", metrics.spool_webhooks.clone());
        registry.register("spool_bytes", "Bytes of the webhooks in the spool", metrics.spool_bytes.clone());
        registry.register("commit_messages", "Messages stored by one commit", metrics.batch_size.clone());
        registry.register(
            "batches_refused",
            "Batches refused by the broker and published one by one",
            metrics.batches_refused.clone(),
        );
        registry.register(
            "broker_losses",
            "Times the broker was found to have lost webhooks that it had acknowledged",
            metrics.broker_losses.clone(),
        );
        registry.register(
            "publish_duration_seconds",
            "Time from a complete request to the broker's answer",
            metrics.publish_seconds.clone(),
        );
        registry.register("inflight_body_bytes", "Bytes of bodies held", metrics.bytes_in_flight.clone());
        registry.register("broker_connected", "1 while connected to NATS", metrics.connected.clone());
        (metrics, registry)
    }

    /// Counts a request.
    pub fn request(&self, route: &'static str, code: &'static str) {
        self.requests.get_or_create(&RequestLabels { route, code }).inc();
    }

    /// Counts a webhook by what source and signature say of it.
    pub fn origin(&self, route: &'static str, allowed: bool, signature: &'static str) {
        let source = if allowed { "allowed" } else { "refused" };
        self.origins.get_or_create(&OriginLabels { route, source, signature }).inc();
    }

    /// Counts a webhook taken in that would be refused with `code`.
    pub fn observed(&self, code: &'static str) {
        self.observed.get_or_create(&ObservedLabels { code }).inc();
    }

    /// Counts a webhook that went, or was to go, to the spool.
    pub fn spooled(&self, outcome: &'static str) {
        self.spooled.get_or_create(&PublishLabels { outcome }).inc();
    }

    /// Counts a publish.
    pub fn publish(&self, outcome: &'static str) {
        self.publishes.get_or_create(&PublishLabels { outcome }).inc();
    }
}
