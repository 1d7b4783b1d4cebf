//! The worker: turns stored webhooks into the true state of every call.
//!
//! The path of a message: [`pull`] takes a batch from the stream, [`event`] parses, [`call`] joins,
//! [`store`] writes, [`status`] settles. What follows from it: [`transcripts`] fetches by
//! [`elevenlabs`], [`api`] answers lookups, [`dead_letters`] keeps what can never work. `metrics` and
//! `gauges` show how all of it goes, `console` shows it to people. A worker can
//! be killed at any instant and run in any number.

pub mod api;
pub mod call;
mod cli;
mod clock;
pub mod commands;
pub mod config;
mod console;
pub mod dead_letters;
pub mod elevenlabs;
pub mod event;
pub mod forget;
mod gauges;
mod metrics;
pub mod outside;
pub mod pull;
pub mod reconcile;
pub mod register;
pub mod replay;
pub mod report;
mod retention;
pub mod retry;
mod scan;
pub mod status;
pub mod store;
mod text;
pub mod transcripts;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aftercall_common::{
    admin::{self, State},
    broker, shutdown, stream,
    trace::Tracer,
};
use anyhow::Context as _;
use async_nats::{Client, jetstream};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{cli::main, config::Config, metrics::Metrics};
use self::{
    config::Role,
    elevenlabs::ElevenLabs,
    retry::Pauses,
    store::{Store, StoreError},
    transcripts::BrokerTime,
};

/// Longest the broker may take to store a job or a grave.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the last acknowledgements to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// What every role works with.
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
    async fn connect(config: Config, registry: &mut Registry) -> anyhow::Result<(Self, Option<ElevenLabs>)> {
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
fn install_tls() {
    // An error means that it is installed already.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
}

/// Starts the worker as configured, until a signal.
async fn start(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let admin = TcpListener::bind(config.admin_addr)
        .await
        .with_context(|| format!("ADMIN_ADDR: cannot listen on {}", config.admin_addr))?;
    run(config, admin, stop).await
}

/// Runs the worker until `stop`: waits for broker and database, then does what its roles say.
///
/// # Errors
/// What only an operator can mend: see [`stream::EnsureError::Contradiction`], [`StoreError::Standalone`],
/// and unusable addresses.
pub async fn run(config: Config, admin: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(?config, "starting");
    let mut registry = aftercall_common::metrics::registry(env!("CARGO_PKG_VERSION"));
    let (context, api) = Context::connect(config, &mut registry).await?;
    let context = Arc::new(context);

    let tasks = TaskTracker::new();
    let prepared = CancellationToken::new();
    let readiness = readiness(context.clone(), prepared.clone(), stop.clone());
    let admin_stop = CancellationToken::new();
    let admin = tasks.spawn(admin::serve(admin, Arc::new(registry), readiness, admin_stop.clone()));
    let console = start_console(&context, api.clone(), &tasks, &stop).await?;

    let outcome = match prepare(&context, &stop).await {
        Ok(true) => {
            prepared.cancel();
            tracing::info!("ready");
            shutdown::ready();
            work(&context, api, &stop).await
        }
        ended => ended.map(drop),
    };
    stop.cancel();
    if let Some(console) = console {
        console.await.context("console")??;
    }
    admin_stop.cancel();
    admin.await.context("admin listener")?;
    if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, context.nats.flush()).await, Ok(Ok(()))) {
        tracing::warn!("the last acknowledgements may be lost; their messages come again");
    }
    context.tracer.clone().shut_down().await;
    context.store.clone().shutdown().await;
    tracing::info!("stopped");
    outcome
}

/// Starts the role `console`, which says on its pages what the others wait for.
async fn start_console(
    context: &Arc<Context>,
    api: Option<ElevenLabs>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Option<JoinHandle<anyhow::Result<()>>>> {
    if !context.config.roles.has(Role::Console) {
        return Ok(None);
    }
    let listener = console::bind(&context.config).await?;
    Ok(Some(tasks.spawn(console::run(context.clone(), api, listener, stop.clone()))))
}

/// Brings streams, consumers and indexes into being. `false` where the process stops first.
async fn prepare(context: &Context, stop: &CancellationToken) -> anyhow::Result<bool> {
    let mut pauses = Pauses::endless(RETRY_FIRST, RETRY_MOST);
    loop {
        let ensured = stream::ensure(&context.jetstream, context.config.stream_replicas.get());
        let Some(ensured) = stop.run_until_cancelled(ensured).await else { return Ok(false) };
        match ensured {
            Ok(()) => break,
            Err(error @ stream::EnsureError::Contradiction { .. }) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "waiting for NATS"),
        }
        if !pauses.sleep(stop).await {
            return Ok(false);
        }
    }
    pauses.reset();
    loop {
        match context.store.prepare().await {
            Ok(()) => return Ok(true),
            Err(error @ StoreError::Standalone) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "waiting for MongoDB"),
        }
        if !pauses.sleep(stop).await {
            return Ok(false);
        }
    }
}

/// Runs the roles until `stop` and gives them `SHUTDOWN_GRACE` to finish.
///
/// # Errors
/// A role ended by itself, which is a defect: better to be started anew than to be half a worker.
async fn work(
    context: &Arc<Context>,
    api: Option<ElevenLabs>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut roles = JoinSet::new();
    roles.spawn(gauges::run(context.clone(), stop.clone()));
    if context.config.roles.has(Role::Status) {
        roles.spawn(status::run(context.clone(), stop.clone()));
        if let Some(retention) = context.config.retention() {
            roles.spawn(retention::run(context.clone(), retention, stop.clone()));
        }
    }
    if context.config.roles.has(Role::Transcripts) {
        if let Some(api) = api.clone() {
            roles.spawn(transcripts::run(context.clone(), api, stop.clone()));
        } else {
            tracing::warn!("ELEVENLABS_API_KEY is unset: transcripts stay owed");
        }
    }
    if context.config.roles.has(Role::Api) {
        roles.spawn(api::run(context.clone(), api::Lookup::new(api.clone()), stop.clone()));
    }
    if context.config.roles.has(Role::Reconcile) {
        if let Some(api) = api {
            roles.spawn(reconcile_and_watch(context.clone(), api, stop.clone()));
        } else {
            tracing::warn!("ELEVENLABS_API_KEY is unset: webhooks that get lost stay lost");
        }
    }
    let early = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        Some(_) = roles.join_next() => Err(anyhow::anyhow!("a role ended by itself")),
    };
    stop.cancel();
    let ended = async { while roles.join_next().await.is_some() {} };
    if tokio::time::timeout(context.config.shutdown_grace, ended).await.is_err() {
        tracing::warn!("work cut off at the end of SHUTDOWN_GRACE; its messages come again");
    }
    early
}

/// The role `reconcile`: makes up for lost webhooks, and looks after where they come from.
async fn reconcile_and_watch(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    tokio::join!(
        reconcile::run(context.clone(), api.clone(), stop.clone()),
        register::watch(context, api, stop),
    );
}

/// State of the parts, for `/readyz`.
fn readiness(
    context: Arc<Context>,
    prepared: CancellationToken,
    stop: CancellationToken,
) -> admin::Readiness {
    Arc::new(move || {
        let (context, prepared, stop) = (context.clone(), prepared.clone(), stop.clone());
        Box::pin(async move {
            let is = |fine: bool, otherwise: &str| {
                if fine { State::Ready } else { State::Unready(otherwise.to_owned()) }
            };
            let answers =
                !context.config.roles.has(Role::Api) || context.answers_lookups.load(Ordering::Relaxed);
            vec![
                ("nats", is(broker::is_connected(&context.nats), "not connected")),
                ("mongodb", context.store.ping().await.map_err(|error| error.to_string()).into()),
                ("prepared", is(prepared.is_cancelled(), "streams or indexes are not there yet")),
                ("lookups", is(answers, "not answered yet")),
                ("running", is(!stop.is_cancelled(), "stopping")),
            ]
        })
    })
}
