//! The metrics of the gateway, with the prefix `aftercall`. `deploy/METRICS.md` explains each of them.
//!
//! A row of `metrics!` declares a metric: its field, type, start value, name and help text.
//!
//! Invariants:
//! - Every label has a closed set of values, so a sender cannot create new series.
//! - The series that alerts watch exist from the start, with the value zero. Otherwise Prometheus does not
//!   see the first increase of a counter.

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
    AuthenticityLabels, DUPLICATE, GradeLabels, KEPT, LabelValues, OK, ObservedLabels, PublishLabels,
    RequestLabels, RouteLabels, STORED, SourceLabel, SpoolLabels,
};

/// Declares [`Metrics`] from one row for each metric: field, type, start value, name, help text.
macro_rules! metrics {
    ($($field:ident: $type:ty = $value:expr, $name:literal, $help:literal;)+) => {
        /// The metrics of the gateway. Cheap to clone, and all clones count together.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            routes: Arc<[RouteSeries]>,
            $(#[doc = $help] pub $field: $type,)+
        }

        impl Metrics {
            fn register(registry: &mut Registry) -> Self {
                let metrics = Self { routes: Arc::default(), $($field: $value,)+ };
                $(registry.register($name, $help, metrics.$field.clone());)+
                metrics
            }
        }
    };
}

metrics! {
    requests: Family<RequestLabels, Counter> = Family::default(), "http_requests", "Requests answered";
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram> = Family::new_with_constructor(seconds),
        "http_request_duration_seconds", "Time from complete headers to the answer";
    failures_in_a_row: Family<RouteLabels, Gauge> = Family::default(),
        "webhook_failures_in_a_row", "Refused webhooks of the provider since the last one answered 200";
    last_accepted: Family<RouteLabels, Gauge> = Family::default(),
        "webhook_last_accepted_timestamp_seconds",
        "Unix time of the last webhook answered 200; before the first, time of the start";
    connections: Gauge = Gauge::default(), "connections", "Open connections";
    connections_refused: Counter = Counter::default(),
        "connections_refused", "Connections closed unread because their source had too many open connections";
    connections_displaced: Counter = Counter::default(),
        "connections_displaced", "Idle connections closed to make room for new ones";
    connections_unreadable: Family<UnreadableLabels, Counter> = Family::default(),
        "connections_unreadable", "Connections closed because they sent no valid request, by reason";
    authenticity: Family<AuthenticityLabels, Counter> = Family::default(),
        "webhook_origins", "Webhooks by source address and signature";
    observed: Family<ObservedLabels, Counter> = Family::default(),
        "webhooks_observed", "Accepted webhooks that the source policy 'enforce' would refuse, by code";
    claim_checks: Family<PublishLabels, Counter> = Family::default(),
        "claim_checks", "Large bodies by the outcome of storing them in the object store";
    publishes: Family<PublishLabels, Counter> = Family::default(),
        "publishes", "Webhooks by the outcome of the publish";
    spooled: Family<PublishLabels, Counter> = Family::default(),
        "spooled", "Webhooks offered to the spool, by the outcome";
    spool_replayed: Counter = Counter::default(),
        "spool_replayed", "Webhooks published from the spool";
    spool_webhooks: Gauge = Gauge::default(), "spool_webhooks", "Webhooks in the spool";
    spool_oldest: Family<SpoolLabels, Gauge> = Family::default(),
        "spool_oldest_timestamp_seconds", "When the oldest webhook in the spool was received; 0: there is none";
    spool_bytes: Gauge = Gauge::default(), "spool_bytes", "Bytes of the webhooks in the spool";
    spool_max_bytes: Gauge = Gauge::default(), "spool_max_bytes", "Most bytes in the spool; 0 without a spool";
    batch_size: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 11)),
        "commit_messages", "Messages stored by one commit";
    batches_refused: Counter = Counter::default(),
        "batches_refused", "Batches refused by the broker and published one by one";
    broker_losses: Counter = Counter::default(),
        "broker_losses", "Times the gateway found that the broker had lost acknowledged webhooks";
    publish_seconds: Histogram = seconds(),
        "publish_duration_seconds", "Time from a complete request to the broker's answer";
    bytes_in_flight: Gauge = Gauge::default(),
        "inflight_body_bytes", "Bytes of bodies in memory, in whole units of the budget";
    connected: Gauge = Gauge::default(), "broker_connected", "1 while connected to NATS";
    streams_ready: Gauge = Gauge::default(), "streams_ready", "1 while the streams exist with the required settings";
    durability: Family<GradeLabels, Gauge> = Family::default(),
        "durability_grade", "1 for the durability of a webhook that is answered 200";
    certificate_expiry: Gauge = Gauge::default(),
        "tls_certificate_expiry_timestamp_seconds", "Unix time at which the certificate of the public listener expires; 0 without TLS";
}

/// A histogram of seconds, from a quarter of a millisecond to eight seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// The series of one route that every request updates. The gateway looks them up once at the start.
#[derive(Clone, Debug)]
struct RouteSeries {
    route: &'static str,
    ok: Counter,
    seconds: Histogram,
    /// `None` for routes that take no webhooks.
    webhooks: Option<WebhookSeries>,
}

/// The series of one route that every webhook updates.
#[derive(Clone, Debug)]
struct WebhookSeries {
    failures_in_a_row: Gauge,
    last_accepted: Gauge,
}

impl Metrics {
    /// The metrics, with the series of `values`, and the registry that exports them.
    pub fn new(values: &LabelValues) -> (Self, Registry) {
        let mut root = metrics::registry(env!("CARGO_PKG_VERSION"));
        let mut metrics = Self::register(root.sub_registry_with_prefix("aftercall"));
        metrics.create_series(values);
        metrics.routes = values.routes.iter().map(|route| metrics.route_series(route, values)).collect();
        (metrics, root)
    }

    /// Creates the series that alerts watch.
    fn create_series(&self, values: &LabelValues) {
        for &route in &values.webhook_routes {
            for &code in [OK].iter().chain(&values.webhook_codes) {
                drop(self.requests.get_or_create(&RequestLabels { route, code }));
            }
            self.last_accepted.get_or_create(&RouteLabels { route }).set(Timestamp::now().as_second());
            for &signature in &values.signatures {
                for source in SourceLabel::ALL {
                    let labels = AuthenticityLabels { route, source: source.as_str(), signature };
                    drop(self.authenticity.get_or_create(&labels));
                }
            }
        }
        for &code in &values.observed_codes {
            drop(self.observed.get_or_create(&ObservedLabels { code }));
        }
        for &outcome in [STORED, DUPLICATE].iter().chain(&values.publish_errors) {
            drop(self.publishes.get_or_create(&PublishLabels { outcome }));
        }
        for labels in UnreadableLabels::all() {
            drop(self.connections_unreadable.get_or_create(&labels));
        }
        drop(self.claim_checks.get_or_create(&PublishLabels { outcome: STORED }));
        for mode in &values.spool_modes {
            drop(self.spool_oldest(mode));
        }
        for &outcome in [KEPT, DUPLICATE].iter().chain(&values.spool_errors) {
            drop(self.spooled.get_or_create(&PublishLabels { outcome }));
        }
    }

    fn route_series(&self, route: &'static str, values: &LabelValues) -> RouteSeries {
        let labels = RouteLabels { route };
        let is_webhook = values.webhook_routes.contains(&route);
        RouteSeries {
            route,
            ok: self.requests.get_or_create(&RequestLabels { route, code: OK }).clone(),
            seconds: self.request_seconds.get_or_create(&labels).clone(),
            webhooks: is_webhook.then(|| WebhookSeries {
                failures_in_a_row: self.failures_in_a_row.get_or_create(&labels).clone(),
                last_accepted: self.last_accepted.get_or_create(&labels).clone(),
            }),
        }
    }

    fn of(&self, route: &'static str) -> Option<&RouteSeries> {
        self.routes.iter().find(|series| series.route == route)
    }

    /// Counts a request that took `time`. `code` is [`OK`] or the code of the refusal.
    pub fn count_request(&self, route: &'static str, code: &'static str, time: Duration) {
        let series = self.of(route);
        if let Some(series) = series {
            series.seconds.observe(time.as_secs_f64());
        }
        match series {
            Some(series) if code == OK => series.ok.inc(),
            _ => self.requests.get_or_create(&RequestLabels { route, code }).inc(),
        };
    }

    /// Records that a webhook of the provider was accepted or refused.
    pub fn record_webhook(&self, route: &'static str, accepted: bool) {
        let Some(series) = self.of(route).and_then(|series| series.webhooks.as_ref()) else { return };
        if accepted {
            series.failures_in_a_row.set(0);
            series.last_accepted.set(Timestamp::now().as_second());
        } else {
            series.failures_in_a_row.inc();
        }
    }

    /// Counts a webhook by its source and its signature.
    pub fn count_authenticity(&self, route: &'static str, source: SourceLabel, signature: &'static str) {
        let labels = AuthenticityLabels { route, source: source.as_str(), signature };
        self.authenticity.get_or_create(&labels).inc();
    }

    /// Counts an accepted webhook that `SOURCE_POLICY=enforce` would refuse with `code`.
    pub fn count_observed(&self, code: &'static str) {
        self.observed.get_or_create(&ObservedLabels { code }).inc();
    }

    /// When the oldest webhook in the spool of this mode was received, in Unix seconds; 0 if there is none.
    pub fn spool_oldest(&self, mode: &'static str) -> Gauge {
        self.spool_oldest.get_or_create(&SpoolLabels { mode }).clone()
    }

    /// Counts a webhook that was offered to the spool, by its outcome.
    pub fn spooled(&self, outcome: &'static str) {
        self.spooled.get_or_create(&PublishLabels { outcome }).inc();
    }

    /// Counts a publish.
    pub fn publish(&self, outcome: &'static str) {
        self.publishes.get_or_create(&PublishLabels { outcome }).inc();
    }
}
