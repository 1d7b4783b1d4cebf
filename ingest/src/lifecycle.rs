//! The life of the gateway: start-up, serving, draining.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use aftercall_common::{
    contract::streams::EnsureError,
    http::tls::Tls,
    process::{admin, broker::Role, config::ConfigError, trace::Tracer},
};
use async_nats::Client;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::reload::{self, ReloadablePolicy},
    broker::{
        durability,
        readiness::{SpoolState, readiness},
        streams::Streams,
    },
    config::Config,
    http::{gateway::Gateway, label_values::label_values, server},
    metrics::Metrics,
    process::open_files,
    storage::{
        Storage,
        large_bodies::LargeBodies,
        publisher::Publisher,
        spool::{self, Spool},
    },
};

/// Name of the connection to the broker and of the service in traces.
const NAME: &str = "aftercall-ingest";
/// Longest wait for the broker at the start.
const BROKER_WAIT: Duration = Duration::from_secs(3);
/// Longest wait at the stop for the broker to store the webhooks in the spool. Without it, they would stay on disk until
/// the next start. What another `SPOOL` mode has left is not waited for.
const SPOOL_DRAIN: Duration = Duration::from_secs(2);
/// Longest wait for the NATS client to send its last bytes, after every request was answered.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the gateway cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file that the configuration names has become invalid since the configuration was checked.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address or the credentials of the broker are invalid.
    #[error("{0:#}")]
    Broker(anyhow::Error),
    /// A stream has settings that lose accepted webhooks.
    #[error(transparent)]
    Stream(EnsureError),
    /// The spool cannot be opened.
    #[error("SPOOL_DIR: {0:#}")]
    Spool(anyhow::Error),
    /// A variable of OpenTelemetry is invalid.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0:#}")]
    Traces(anyhow::Error),
    /// The operating system does not deliver SIGHUP.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(std::io::Error),
}

/// The connection, the certificate and the other parts that several tasks share.
struct Shared {
    config: Config,
    /// Most open connections: `MAX_CONNECTIONS`, or fewer if the limit on open files is too low.
    connections: NonZeroUsize,
    client: Client,
    tls: Option<Tls>,
    tracer: Tracer,
    policy: ReloadablePolicy,
    metrics: Metrics,
}

/// The journals in `SPOOL_DIR`.
#[derive(Default)]
struct Spools {
    spool: Option<Arc<Spool>>,
    /// The spool that the other `SPOOL` mode wrote. Its webhooks are only published.
    left_by_other_mode: Option<Arc<Spool>>,
}

/// The background tasks, and the tokens that stop them in this order.
struct Tasks {
    tracker: TaskTracker,
    /// Stops the listener. The task that maintains the streams cancels this token too if a stream loses
    /// messages. The caller's own token is then not cancelled.
    serving: CancellationToken,
    /// Stops the tasks that store webhooks, once no request is open.
    storing: CancellationToken,
    /// Stops the admin listener, last of all.
    reporting: CancellationToken,
    /// The task that maintains the streams.
    streams: JoinHandle<Result<(), EnsureError>>,
}

/// A gateway whose background tasks run.
pub(crate) struct RunningGateway {
    shared: Shared,
    streams: Arc<Streams>,
    storage: Arc<Storage>,
    spool: Option<Arc<Spool>>,
    tasks: Tasks,
}

impl Shared {
    async fn new(config: Config) -> Result<(Self, Registry), RunError> {
        let connections = open_files::raise_limit(config.max_connections, spool::files(&config));
        let client = config.broker().connect(NAME, Role::Gateway).await.map_err(RunError::Broker)?;
        let tls = config.tls()?;
        let endpoint = config.otel_exporter_otlp_endpoint.as_ref();
        let tracer = Tracer::start(endpoint, NAME, env!("CARGO_PKG_VERSION")).map_err(RunError::Traces)?;
        let policy = ReloadablePolicy::new(config.policy.clone());
        let (metrics, registry) = Metrics::new(&label_values());
        metrics.certificate_expiry.set(tls.as_ref().map_or(0, Tls::expires));
        Ok((Self { config, connections, client, tls, tracer, policy, metrics }, registry))
    }

    /// Opens the spool, and what another mode has left in its folder.
    async fn open_spools(&self) -> Result<Spools, RunError> {
        let Some(folder) = self.config.spool_dir.clone() else { return Ok(Spools::default()) };
        let (mode, max_bytes) = (self.config.spool, self.config.spool_max_bytes.get());
        self.metrics.spool_max_bytes.set(i64::try_from(max_bytes).unwrap_or(i64::MAX));
        let metrics = self.metrics.clone();
        // A large spool takes a while to read.
        let opened = tokio::task::spawn_blocking(move || {
            let spool = Arc::new(Spool::open(&folder, mode, max_bytes, metrics.clone())?);
            let left_by_other_mode = Spool::open_left_by_other_mode(&folder, mode, max_bytes, metrics)?;
            let left_by_other_mode = left_by_other_mode.map(Arc::new);
            anyhow::Ok(Spools { spool: Some(spool), left_by_other_mode })
        });
        opened.await.map_err(anyhow::Error::from).flatten().map_err(RunError::Spool)
    }
}

impl Tasks {
    /// Starts the task that maintains `streams`.
    fn new(streams: Arc<Streams>, stop: &CancellationToken) -> Self {
        let (tracker, serving) = (TaskTracker::new(), stop.child_token());
        let streams = tracker.spawn({
            let serving = serving.clone();
            async move {
                let _stops_serving = serving.clone().drop_guard(); // Also if it panics.
                streams.maintain(&serving).await
            }
        });
        let (storing, reporting) = (CancellationToken::new(), CancellationToken::new());
        Self { tracker, serving, storing, reporting, streams }
    }
}

impl RunningGateway {
    /// Connects to the broker, opens the spool and starts the background tasks. The broker may be absent.
    pub async fn start(
        config: Config,
        admin_listener: TcpListener,
        stop: &CancellationToken,
    ) -> Result<Self, RunError> {
        let (shared, registry) = Shared::new(config).await?;
        let (client, metrics) = (shared.client.clone(), shared.metrics.clone());
        let replicas = shared.config.stream_replicas.get();
        let streams = Arc::new(Streams::new(client.clone(), replicas, metrics.clone()));
        let tasks = Tasks::new(streams.clone(), stop);

        let timeout = shared.config.publish_timeout;
        let (publisher, committer) =
            Publisher::new(client.clone(), streams.clone(), timeout, metrics.clone());
        tasks.tracker.spawn(committer.run(tasks.storing.clone()));
        let Spools { spool, left_by_other_mode } = shared.open_spools().await?;
        let large_bodies = LargeBodies::new(client, metrics.clone());
        let storage = Arc::new(Storage::new(publisher, large_bodies, spool.clone(), streams.clone()));
        for spool in [spool.clone(), left_by_other_mode].into_iter().flatten() {
            let oldest = metrics.spool_oldest(spool.mode().as_str());
            tasks.tracker.spawn(spool.clone().answer(tasks.storing.clone()));
            tasks.tracker.spawn(spool::replay(storage.clone(), spool, oldest, tasks.storing.clone()));
        }

        let gateway = Self { shared, streams, storage, spool, tasks };
        gateway.start_reporting(admin_listener, registry);
        gateway.start_reloading()?;
        gateway.tasks.tracker.close();
        Ok(gateway)
    }

    /// Serves metrics and readiness, and keeps the durability metric up to date.
    fn start_reporting(&self, admin_listener: TcpListener, registry: Registry) {
        let Self { shared, streams, spool, tasks, .. } = self;
        let spool = spool.clone();
        let spool_state = move || match &spool {
            None => SpoolState::Disabled,
            Some(spool) if spool.is_full() => SpoolState::Full,
            Some(_) => SpoolState::HasRoom,
        };
        let readiness = readiness(streams.clone(), spool_state, tasks.serving.clone());
        let reporting = tasks.reporting.clone();
        tasks.tracker.spawn(admin::serve(admin_listener, Arc::new(registry), readiness, reporting));
        let monitors = shared.config.nats_monitor_url.clone().unwrap_or_default();
        let (client, metrics) = (shared.client.clone(), shared.metrics.clone());
        let spool = self.spool.clone();
        let is_local = move || spool.as_ref().is_some_and(|spool| spool.comes_first());
        let stop = tasks.storing.clone();
        let watch = durability::watch(client, streams.clone(), is_local, monitors, metrics, stop);
        tasks.tracker.spawn(watch);
    }

    /// Reloads the policy and the certificate at every SIGHUP.
    fn start_reloading(&self) -> Result<(), RunError> {
        let Shared { config, policy, tls, metrics, .. } = &self.shared;
        let expiry = metrics.certificate_expiry.clone();
        let stop = self.tasks.storing.clone();
        let reload = reload::on_hangup(config.clone(), policy.clone(), tls.clone(), expiry, stop);
        self.tasks.tracker.spawn(reload.map_err(RunError::Signal)?);
        Ok(())
    }

    /// Waits at most [`BROKER_WAIT`] until webhooks can be stored. Otherwise this gateway could refuse a webhook that
    /// another gateway on the same socket would store.
    pub async fn wait_for_broker(&self) {
        if self.spool.is_none() {
            self.streams.wait_until_ensured(BROKER_WAIT, &self.tasks.serving).await;
        }
    }

    /// Serves requests on `listener` until the stop, and then answers all requests that were accepted.
    pub async fn serve(&self, listener: TcpListener) {
        let Shared { config, connections, client, tls, tracer, policy, metrics } = &self.shared;
        let server = server::server(config, *connections, listener, tls.clone(), policy.clone(), metrics);
        let gateway = Arc::new(Gateway::new(
            config,
            policy.clone(),
            client.clone(),
            self.storage.clone(),
            metrics.clone(),
            tracer.clone(),
        ));
        self.tasks.tracker.spawn(gateway.clone().sum_up_successes(self.tasks.storing.clone()));
        let stop = self.tasks.serving.clone();
        server.serve(stop, move |peer, request| gateway.clone().answer(peer, request)).await;
    }

    /// Stops all tasks, sends the last messages and traces, and returns an error if the settings of a stream
    /// have stopped the gateway.
    pub async fn drain(self) -> Result<(), RunError> {
        let Self { shared: Shared { client, tracer, .. }, storage, spool, tasks, .. } = self;
        if let Some(spool) = spool.filter(|_| storage.can_publish()) {
            let _some_are_left = tokio::time::timeout(SPOOL_DRAIN, spool.until_empty()).await;
        }
        tasks.storing.cancel();
        let ended = tasks.streams.await;
        if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, client.flush()).await, Ok(Ok(()))) {
            tracing::debug!("the last messages could not be flushed to the broker");
        }
        tracer.shut_down().await;
        tasks.reporting.cancel();
        tasks.tracker.wait().await;
        if let Err(error) = client.drain().await {
            tracing::debug!(%error, "the connection to the broker was closed already");
        }
        tracing::info!("stopped");
        match ended {
            Ok(ended) => ended.map_err(RunError::Stream),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
