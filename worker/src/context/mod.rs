//! The settings, connections and metrics that every role and command uses.

mod ports;
mod startup;

use std::{sync::atomic::AtomicBool, time::Duration};

use aftercall_common::process::{broker, success_log::SuccessLog, trace::Tracer};
use anyhow::Context as _;
use async_nats::{Client, jetstream};
use prometheus_client::registry::Registry;

pub(crate) use self::startup::readiness;
use crate::{
    broker::time::BrokerTime, config::Config, elevenlabs::ElevenLabs, metrics::Metrics, store::Store,
};

/// Longest time that the broker may take to store a job or a dead letter.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings, connections and metrics of this process.
pub struct Context {
    /// The settings from the environment.
    pub config: Config,
    /// The connection to the broker.
    pub nats: Client,
    /// The streams of the broker.
    pub jetstream: jetstream::Context,
    /// The calls in the database.
    pub store: Store,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The traces of this process.
    pub tracer: Tracer,
    /// The bound on the log lines of applied events.
    pub successes: SuccessLog,
    /// Whether the role `api` has registered its NATS service, so that it receives requests.
    pub answers_lookups: AtomicBool,
    /// The offset of the broker's clock.
    pub broker_time: BrokerTime,
}

impl Context {
    /// Prepares every connection. Broker and database need not be reachable yet. The client of the API is
    /// `None` without a key.
    ///
    /// # Errors
    /// A setting cannot be used.
    pub(crate) async fn connect(
        config: Config,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, Option<ElevenLabs>)> {
        install_tls();
        let metrics = Metrics::register(registry);
        let nats = config.broker().connect("aftercall-worker", broker::Role::Worker).await?;
        let jetstream =
            jetstream::context::ContextBuilder::new().timeout(PUBLISH_TIMEOUT).build(nats.clone());
        let store = Store::new(&config, metrics.clone()).await?;
        let api = ElevenLabs::new(&config, metrics.clone())?;
        let tracer = Tracer::start(
            config.otel_exporter_otlp_endpoint.as_ref(),
            "aftercall-worker",
            env!("CARGO_PKG_VERSION"),
        )
        .context("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used")?;
        let context = Self {
            config,
            nats,
            jetstream,
            store,
            metrics,
            tracer,
            successes: SuccessLog::default(),
            answers_lookups: AtomicBool::new(false),
            broker_time: BrokerTime::default(),
        };
        Ok((context, api))
    }
}

/// Makes `ring` the one TLS library for NATS, MongoDB and HTTPS. Has no effect the second time.
pub(crate) fn install_tls() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
}
