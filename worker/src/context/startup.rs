//! Prepares broker and database before the roles start, and gives the answer of `/readyz`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aftercall_common::{
    contract::streams,
    process::{
        admin::{self, State},
        broker::is_connected,
    },
};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{config::Role, retry::Pauses, store::StoreError};

/// First and longest pause between two attempts to reach broker or database.
const RETRY_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl Context {
    /// Creates the streams, consumers and indexes that are missing. Waits for broker and database. Returns
    /// `false` if the process stops before.
    ///
    /// # Errors
    /// An operator has to change something: see [`streams::EnsureError::UnsafeSetting`] and
    /// [`StoreError::Standalone`].
    pub(crate) async fn prepare(&self, stop: &CancellationToken) -> anyhow::Result<bool> {
        Ok(self.prepare_broker(stop).await? && self.prepare_database(stop).await?)
    }

    async fn prepare_broker(&self, stop: &CancellationToken) -> Result<bool, streams::EnsureError> {
        let mut pauses = Pauses::endless(RETRY_DELAY.0, RETRY_DELAY.1);
        loop {
            let ensured = streams::ensure(&self.jetstream, self.config.stream_replicas.get());
            let Some(ensured) = stop.run_until_cancelled(ensured).await else { return Ok(false) };
            match ensured {
                Ok(()) => return Ok(true),
                Err(error @ streams::EnsureError::UnsafeSetting { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "waiting for NATS"),
            }
            if !pauses.sleep(stop).await {
                return Ok(false);
            }
        }
    }

    async fn prepare_database(&self, stop: &CancellationToken) -> Result<bool, StoreError> {
        let mut pauses = Pauses::endless(RETRY_DELAY.0, RETRY_DELAY.1);
        loop {
            match self.store.prepare().await {
                Ok(()) => return Ok(true),
                Err(error @ StoreError::Standalone) => return Err(error),
                Err(error) => tracing::warn!(%error, "waiting for MongoDB"),
            }
            if !pauses.sleep(stop).await {
                return Ok(false);
            }
        }
    }
}

/// The state of each part, for `/readyz`. `prepared` is cancelled once [`Context::prepare`] has succeeded,
/// and `stop` once the process stops.
pub(crate) fn readiness(
    context: Arc<Context>,
    prepared: CancellationToken,
    stop: CancellationToken,
) -> admin::Readiness {
    Arc::new(move || {
        let (context, prepared, stop) = (context.clone(), prepared.clone(), stop.clone());
        Box::pin(async move {
            let state = |is_ready: bool, otherwise: &str| {
                if is_ready { State::Ready } else { State::Unready(otherwise.to_owned()) }
            };
            let answers =
                !context.config.roles.has(Role::Api) || context.answers_lookups.load(Ordering::Relaxed);
            vec![
                ("nats", state(is_connected(&context.nats), "not connected")),
                ("mongodb", context.store.ping().await.map_err(|error| error.to_string()).into()),
                ("prepared", state(prepared.is_cancelled(), "streams or indexes are not there yet")),
                ("lookups", state(answers, "not answered yet")),
                ("running", state(!stop.is_cancelled(), "stopping")),
            ]
        })
    })
}
