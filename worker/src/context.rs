//! What every role and command works with: settings, connections, metrics.

use std::{sync::atomic::AtomicBool, time::Duration};

use aftercall_common::process::{broker, trace::Tracer};
use anyhow::Context as _;
use async_nats::{
    Client, Error,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use jiff::Timestamp;
use prometheus_client::registry::Registry;

use crate::{
    broker::{
        consumer,
        large_bodies::{self, NoBody},
        time::BrokerTime,
        transcript_jobs::{self, Job},
    },
    config::Config,
    dead_letters,
    domain::{cause::Cause, event::ConversationId},
    elevenlabs::{ApiError, Conversation, ElevenLabs},
    metrics::Metrics,
    ports::{Outside, Provider},
    store::{Store, StoreError},
};

/// Longest the broker may take to store a job or a dead letter.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings, connections and metrics of this process.
pub struct Context {
    /// Environment.
    pub config: Config,
    /// Connection to the broker.
    pub nats: Client,
    /// Streams on it.
    pub jetstream: jetstream::Context,
    /// Calls.
    pub store: Store,
    /// Counters.
    pub metrics: Metrics,
    /// Traces.
    pub tracer: Tracer,
    /// Whether the broker gives us status lookups.
    pub answers_lookups: AtomicBool,
    /// What the broker's clock says.
    pub broker_time: BrokerTime,
}

impl Context {
    /// Prepares every connection; broker and database may still be away.
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
        let (answers_lookups, broker_time) = (AtomicBool::new(false), BrokerTime::default());
        Ok((Self { config, nats, jetstream, store, metrics, tracer, answers_lookups, broker_time }, api))
    }
}

/// One TLS library for NATS, MongoDB and HTTPS.
pub(crate) fn install_tls() {
    // An error means that it is installed already.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
}

impl Outside for Context {
    type Message = jetstream::Message;
    type Calls = Store;

    fn calls(&self) -> &Store {
        &self.store
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    async fn fetch(&self, object: &str) -> Result<Bytes, NoBody> {
        large_bodies::fetch(&self.jetstream, object).await
    }

    async fn owe(&self, conversation: &ConversationId, trace: Option<&str>) -> Result<(), Error> {
        transcript_jobs::owe(&self.jetstream, conversation, trace).await
    }

    async fn later(&self, job: &Job, at: Timestamp) -> Result<(), Error> {
        let due = self.broker_time.of(&self.jetstream, at).await;
        transcript_jobs::later(&self.jetstream, job, due).await
    }

    async fn bury(
        &self,
        consumer: &'static str,
        message: &jetstream::Message,
        cause: &Cause,
    ) -> Result<(), Error> {
        dead_letters::bury(&self.jetstream, consumer, message, cause).await
    }

    async fn attempts(&self, ids: &[String]) -> Result<Vec<u32>, StoreError> {
        self.store.attempts(ids).await
    }

    async fn begin_attempt(&self, ids: &[String], attempt: u32) -> Result<(), StoreError> {
        self.store.begin_attempt(ids, attempt).await
    }

    async fn end_attempt(&self, ids: &[String]) -> Result<(), StoreError> {
        self.store.end_attempt(ids).await
    }

    async fn settle(&self, message: &jetstream::Message, kind: AckKind) {
        consumer::settle(message, kind).await;
    }
}

impl Provider for ElevenLabs {
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.gate.closed_until(now)
    }

    async fn conversation(&self, id: &ConversationId) -> Result<Conversation, ApiError> {
        Self::conversation(self, id).await
    }
}
