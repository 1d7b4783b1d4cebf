//! The roles of a worker: tasks that run until the process stops. `ROLES` selects them.

pub mod api;
pub(crate) mod console;
pub mod deliver;
mod gauges;
mod number_suffixes;
pub mod reconcile;
mod retention;
pub mod transcripts;
mod webhook_check;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Context, config::Role, elevenlabs::ElevenLabs, ingestion};

/// Runs the selected roles until `stop`, and then waits up to `SHUTDOWN_GRACE` for them to finish.
///
/// # Errors
/// A role ended by itself, which is a defect. The process ends, so that it is restarted with all roles.
pub(crate) async fn run(
    context: &Arc<Context>,
    api: Option<ElevenLabs>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut roles = JoinSet::new();
    roles.spawn(gauges::run(context.clone(), stop.clone()));
    if context.config.roles.has(Role::Status) {
        roles.spawn(ingestion::run(context.clone(), stop.clone()));
        roles.spawn(number_suffixes::run(context.clone(), stop.clone()));
        if let Some(retention) = context.config.retention() {
            roles.spawn(retention::run(context.clone(), retention, stop.clone()));
        }
    }
    if context.config.roles.has(Role::Transcripts) {
        if let Some(api) = api.clone() {
            roles.spawn(transcripts::run(context.clone(), api, stop.clone()));
        } else {
            tracing::warn!("ELEVENLABS_API_KEY is not set: transcripts are not fetched");
        }
    }
    if context.config.roles.has(Role::Api) {
        roles.spawn(api::run(context.clone(), api::Lookup::new(api.clone()), stop.clone()));
    }
    if context.config.roles.has(Role::Deliver) {
        roles.spawn(deliver::run(context.clone(), stop.clone()));
    }
    if context.config.roles.has(Role::Reconcile) {
        if let Some(api) = api {
            roles.spawn(reconcile_and_check_webhook(context.clone(), api, stop.clone()));
        } else {
            tracing::warn!(
                "ELEVENLABS_API_KEY is not set: missing webhooks are not replaced by reconciliation"
            );
        }
    }
    let outcome = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        Some(_) = roles.join_next() => Err(anyhow::anyhow!("a role ended by itself")),
    };
    stop.cancel();
    let ended = async { while roles.join_next().await.is_some() {} };
    if tokio::time::timeout(context.config.shutdown_grace, ended).await.is_err() {
        tracing::warn!(
            "SHUTDOWN_GRACE is over and roles have not finished; the broker delivers their messages again"
        );
    }
    outcome
}

/// The role `reconcile`: publishes missing events, and checks the webhook at ElevenLabs.
async fn reconcile_and_check_webhook(context: Arc<Context>, api: ElevenLabs, stop: CancellationToken) {
    tokio::join!(
        reconcile::run(context.clone(), api.clone(), stop.clone()),
        webhook_check::run(context, api, stop),
    );
}
