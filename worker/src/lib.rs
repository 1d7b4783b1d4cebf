//! The worker: turns the webhooks that the gateway stored in NATS `JetStream` into the state of calls in
//! MongoDB.
//!
//! # The path of a message
//!
//! 1. [`ingestion`] pulls webhooks from the stream `WEBHOOKS`, in batches, with [`broker::consumer`].
//! 2. [`domain::event`] parses the body of any provider into an event.
//! 3. [`domain::call`] joins the events of a call into a patch. The join is commutative and idempotent, so
//!    order, repetition and batching make no difference.
//! 4. [`store`] writes the patches to the collection `agent_calls`.
//! 5. [`ingestion`] enqueues the transcript jobs that follow from the write, and acknowledges the messages.
//!
//! A message that cannot be processed goes to [`dead_letters`] with its cause.
//!
//! # The other roles
//!
//! [`roles::transcripts`] fetches transcripts through [`elevenlabs`], [`roles::api`] answers requests about
//! calls and places calls, [`roles::reconcile`] publishes events whose webhooks were lost, and the role
//! `console` shows calls to people. [`commands`] run once and end.
//!
//! Several workers may run at the same time, and each may be killed at any instant: no state is kept in a
//! process.

pub mod broker;
mod cli;
pub mod commands;
pub mod config;
mod context;
pub mod dead_letters;
pub mod domain;
pub mod elevenlabs;
pub mod endpoints;
pub mod ingestion;
mod metrics;
pub mod ports;
pub mod registration;
pub mod retry;
pub mod roles;
pub mod store;

use std::{sync::Arc, time::Duration};

use aftercall_common::process::{admin, supervisor};
use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{cli::main, config::Config, context::Context, metrics::Metrics};
use self::{config::Role, context::readiness, elevenlabs::ElevenLabs, roles::console};

/// Longest wait until the last acknowledgements are sent to the broker.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the worker until `stop`: waits for broker and database, then runs the roles that `config` names.
/// `admin` is the listener for health and metrics.
///
/// # Errors
/// An operator has to change something: a setting cannot be used, an existing stream contradicts
/// [`streams::ensure`](aftercall_common::contract::streams::ensure), or MongoDB is no replica set.
pub async fn run(config: Config, admin: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(config = config.to_string().replace('\n', " "), "starting");
    let mut registry = aftercall_common::process::metrics::registry(env!("CARGO_PKG_VERSION"));
    let (context, api) = Context::connect(config, &mut registry).await?;
    let context = Arc::new(context);

    let tasks = TaskTracker::new();
    let (prepared, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let readiness = readiness(context.clone(), prepared.clone(), stop.clone());
    let admin = tasks.spawn(admin::serve(admin, Arc::new(registry), readiness, admin_stop.clone()));
    let console = start_console(&context, api.clone(), &tasks, &stop).await?;

    let outcome = match context.prepare(&stop).await {
        Ok(true) => {
            prepared.cancel();
            tracing::info!("ready");
            supervisor::ready();
            roles::run(&context, api, &stop).await
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    stop.cancel();
    if let Some(console) = console {
        console.await.context("console")??;
    }
    admin_stop.cancel();
    admin.await.context("admin listener")?;
    disconnect(&context).await;
    tracing::info!("stopped");
    outcome
}

/// Starts the role `console`, if it is configured. It runs while broker and database are away, and its pages
/// say so.
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

/// Sends what is still buffered, and closes the connections.
async fn disconnect(context: &Context) {
    if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, context.nats.flush()).await, Ok(Ok(()))) {
        tracing::warn!(
            "NATS does not confirm the last acknowledgements; it may deliver their messages again"
        );
    }
    context.tracer.clone().shut_down().await;
    context.store.clone().shutdown().await;
}
