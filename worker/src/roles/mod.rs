//! The roles of a worker: what it does until it is told to stop. `ROLES` chooses among them.

pub mod api;
pub(crate) mod console;
mod gauges;
pub mod reconcile;
mod retention;
pub mod transcripts;
mod webhook_watch;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Context, config::Role, elevenlabs::ElevenLabs, ingestion};

/// Runs the roles until `stop` and gives them `SHUTDOWN_GRACE` to finish.
///
/// # Errors
/// A role ended by itself, which is a defect: better to be started anew than to be half a worker.
pub(crate) async fn run(
    context: &Arc<Context>,
    api: Option<ElevenLabs>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut roles = JoinSet::new();
    roles.spawn(gauges::run(context.clone(), stop.clone()));
    if context.config.roles.has(Role::Status) {
        roles.spawn(ingestion::run(context.clone(), stop.clone()));
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
        webhook_watch::watch(context, api, stop),
    );
}
