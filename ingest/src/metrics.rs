//! What the gateway counts, under the prefix `aftercall`.
//!
//! Invariant: every label takes its values from a closed set, so no sender can make up a series. What an
//! alert watches is there from the start, at zero: Prometheus does not see a counter's first step otherwise.
//! `deploy/METRICS.md` explains each.

mod labels;

use std::{sync::Arc, time::Duration};

use aftercall_common::{http::UnreadableLabels, process::metrics};
use jiff::Timestamp;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

pub use self::labels::{
    GradeLabels, ObservedLabels, OriginLabels, PublishLabels, RequestLabels, RouteLabels,
};

/// The routes of webhooks, and what their requests can be answered besides 200.
const WEBHOOK_ROUTES: [&str; 2] = ["elevenlabs_call_status", "twilio_call_status"];
#[rustfmt::skip]
const WEBHOOK_CODES: [&str; 23] = [
    "ok", "untrusted_proxy", "forwarded_for_unreadable", "source_not_allowed", "cross_site_request", "unauthorized",
    "signature_missing", "signature_invalid", "signature_expired", "header_secret_invalid",
    "invalid_json", "invalid_form", "too_complex", "invalid_encoding", "unsupported_encoding",
    "unsupported_transfer_encoding", "body_incomplete", "body_timeout", "body_too_large", "overloaded", "not_stored",
    "not_found",
    "method_not_allowed",
];
const ROUTES: [&str; 5] =
    ["elevenlabs_call_status", "twilio_call_status", "agent_call_status", "agent_calls", "unknown"];

/// The series of one route that every request touches, found once and not by their labels each time.
#[derive(Clone, Debug)]
struct Series {
    route: &'static str,
    ok: Counter,
    seconds: Histogram,
    failures_in_a_row: Gauge,
    last_accepted: Gauge,
}

/// The gateway's metrics. Cheap to clone, all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    series: Arc<[Series]>,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds from complete headers to the answer.
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Webhooks of the provider in a row that were not answered 200.
    failures_in_a_row: Family<RouteLabels, Gauge>,
    /// Unix time of the last webhook answered 200; of the start, before the first.
    last_accepted: Family<RouteLabels, Gauge>,
    /// Connections open.
    pub connections: Gauge,
    /// Connections closed unread, as their source had `MAX_CONNECTIONS_PER_SOURCE` open.
    pub connections_refused: Counter,
    /// Connections asked to make room for another.
    pub connections_displaced: Counter,
    /// Connections that brought no request, by what they looked like.
    pub connections_unreadable: Family<UnreadableLabels, Counter>,
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
    /// Bytes it may hold; 0 without a spool.
    pub spool_max_bytes: Gauge,
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
    /// 1 while the streams are as they must be.
    pub streams_ready: Gauge,
    /// 1 for what a 200 is worth.
    pub durability: Family<GradeLabels, Gauge>,
    /// Unix time at which the certificate of the public listener expires; 0 without one.
    pub certificate_expiry: Gauge,
}

impl Metrics {
    /// The metrics, and the registry that shows them.
    pub fn new() -> (Self, Registry) {
        let mut metrics = Self {
            series: Arc::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
            }),
            failures_in_a_row: Family::default(),
            last_accepted: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            connections_displaced: Counter::default(),
            connections_unreadable: Family::default(),
            origins: Family::default(),
            observed: Family::default(),
            claim_checks: Family::default(),
            publishes: Family::default(),
            spooled: Family::default(),
            spool_replayed: Counter::default(),
            spool_webhooks: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_max_bytes: Gauge::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            batches_refused: Counter::default(),
            broker_losses: Counter::default(),
            publish_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            bytes_in_flight: Gauge::default(),
            connected: Gauge::default(),
            streams_ready: Gauge::default(),
            durability: Family::default(),
            certificate_expiry: Gauge::default(),
        };
        metrics.begin();
        metrics.series = ROUTES.into_iter().map(|route| metrics.series(route)).collect();
        let mut root = metrics::registry(env!("CARGO_PKG_VERSION"));
        metrics.register(root.sub_registry_with_prefix("aftercall"));
        (metrics, root)
    }

    /// Makes the series that alerts watch.
    fn begin(&self) {
        for route in WEBHOOK_ROUTES {
            for code in WEBHOOK_CODES {
                drop(self.requests.get_or_create(&RequestLabels { route, code }));
            }
            drop(self.failures_in_a_row.get_or_create(&RouteLabels { route }));
            self.last_accepted.get_or_create(&RouteLabels { route }).set(Timestamp::now().as_second());
            for signature in ["verified", "token", "absent", "missing", "invalid", "expired", "unchecked"] {
                for source in ["allowed", "refused"] {
                    drop(self.origins.get_or_create(&OriginLabels { route, source, signature }));
                }
            }
        }
        for code in ["source_not_allowed", "signature_missing", "signature_invalid", "signature_expired"] {
            drop(self.observed.get_or_create(&ObservedLabels { code }));
        }
        let outcomes =
            ["stored", "duplicate", "queue_full", "disconnected", "no_stream", "expired", "timed_out"];
        for outcome in
            outcomes.into_iter().chain(["connection_lost", "refused", "body_not_stored", "stopping"])
        {
            drop(self.publishes.get_or_create(&PublishLabels { outcome }));
        }
        drop(self.claim_checks.get_or_create(&PublishLabels { outcome: "stored" }));
        for outcome in ["kept", "duplicate", "full", "busy", "timed_out", "disk_failed"] {
            drop(self.spooled.get_or_create(&PublishLabels { outcome }));
        }
    }

    fn series(&self, route: &'static str) -> Series {
        let labels = RouteLabels { route };
        let is_webhook = WEBHOOK_ROUTES.contains(&route);
        // A gauge of its own, and shown nowhere, for what is told of webhooks only.
        let gauge = |family: &Family<RouteLabels, Gauge>| {
            if is_webhook { family.get_or_create(&labels).clone() } else { Gauge::default() }
        };
        Series {
            route,
            ok: self.requests.get_or_create(&RequestLabels { route, code: "ok" }).clone(),
            seconds: self.request_seconds.get_or_create(&labels).clone(),
            failures_in_a_row: gauge(&self.failures_in_a_row),
            last_accepted: gauge(&self.last_accepted),
        }
    }

    fn of(&self, route: &'static str) -> Option<&Series> {
        self.series.iter().find(|series| series.route == route)
    }

    fn register(&self, registry: &mut Registry) {
        let metrics = self;
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from complete headers to the answer",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "webhook_failures_in_a_row",
            "Webhooks of the provider since the last one answered 200",
            metrics.failures_in_a_row.clone(),
        );
        registry.register(
            "webhook_last_accepted_timestamp_seconds",
            "Unix time of the last webhook answered 200, at first of the start",
            metrics.last_accepted.clone(),
        );
        registry.register("connections", "Connections open to senders", metrics.connections.clone());
        registry.register(
            "connections_refused",
            "Connections closed unread, their source having MAX_CONNECTIONS_PER_SOURCE open",
            metrics.connections_refused.clone(),
        );
        registry.register(
            "connections_displaced",
            "Connections closed while they waited for a request, MAX_CONNECTIONS being open",
            metrics.connections_displaced.clone(),
        );
        registry.register(
            "connections_unreadable",
            "Connections refused before there was a request, by what they looked like",
            metrics.connections_unreadable.clone(),
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
        registry.register(
            "spool_max_bytes",
            "Bytes the spool may hold, 0 without one",
            metrics.spool_max_bytes.clone(),
        );
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
        registry.register(
            "streams_ready",
            "1 while the streams are as they must be",
            metrics.streams_ready.clone(),
        );
        registry.register(
            "durability_grade",
            "1 for what a webhook answered 200 survives",
            metrics.durability.clone(),
        );
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "Unix time at which TLS_CERT_FILE expires, 0 without one",
            metrics.certificate_expiry.clone(),
        );
    }

    /// Counts a request that took so long; `code` is `ok` or that of the refusal.
    pub fn request(&self, route: &'static str, code: &'static str, time: Duration) {
        let series = self.of(route);
        if let Some(series) = series {
            series.seconds.observe(time.as_secs_f64());
        }
        match series {
            Some(series) if code == "ok" => series.ok.inc(),
            _ => self.requests.get_or_create(&RequestLabels { route, code }).inc(),
        };
    }

    /// A webhook of the provider was answered 200, or not.
    pub fn webhook(&self, route: &'static str, accepted: bool) {
        let Some(series) = self.of(route) else { return };
        if accepted {
            series.failures_in_a_row.set(0);
            series.last_accepted.set(Timestamp::now().as_second());
        } else {
            series.failures_in_a_row.inc();
        }
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
