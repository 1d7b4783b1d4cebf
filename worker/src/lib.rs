//! The worker: turns stored webhooks into the true state of every call.
//!
//! The path of a message: [`ingestion::consumer`] takes a batch from the stream, [`domain::event`] parses, [`domain::call`] joins,
//! [`store`] writes, [`ingestion`] settles. What follows from it: [`roles::transcripts`] fetches by
//! [`elevenlabs`], [`roles::api`] answers lookups, [`dead_letters`] keeps what can never work. `metrics` and
//! `gauges` show how all of it goes, `console` shows it to people. A worker can
//! be killed at any instant and run in any number.

pub mod broker;
mod cli;
pub mod commands;
pub mod config;
mod context;
pub mod dead_letters;
pub mod domain;
pub mod elevenlabs;
pub mod ingestion;
mod metrics;
pub mod ports;
pub mod retry;
pub mod roles;
pub mod store;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::{
    contract::streams,
    process::{
        admin::{self, State},
        broker::is_connected,
        shutdown,
    },
};
use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{cli::main, config::Config, context::Context, metrics::Metrics};
use self::{config::Role, elevenlabs::ElevenLabs, retry::Pauses, roles::console, store::StoreError};

/// Longest wait for the last acknowledgements to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

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
/// What only an operator can mend: see [`streams::EnsureError::Contradiction`], [`StoreError::Standalone`],
/// and unusable addresses.
pub async fn run(config: Config, admin: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(?config, "starting");
    let mut registry = aftercall_common::process::metrics::registry(env!("CARGO_PKG_VERSION"));
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
            roles::run(&context, api, &stop).await
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
        let ensured = streams::ensure(&context.jetstream, context.config.stream_replicas.get());
        let Some(ensured) = stop.run_until_cancelled(ensured).await else { return Ok(false) };
        match ensured {
            Ok(()) => break,
            Err(error @ streams::EnsureError::Contradiction { .. }) => return Err(error.into()),
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
                ("nats", is(is_connected(&context.nats), "not connected")),
                ("mongodb", context.store.ping().await.map_err(|error| error.to_string()).into()),
                ("prepared", is(prepared.is_cancelled(), "streams or indexes are not there yet")),
                ("lookups", is(answers, "not answered yet")),
                ("running", is(!stop.is_cancelled(), "stopping")),
            ]
        })
    })
}
