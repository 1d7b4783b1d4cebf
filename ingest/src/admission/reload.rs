//! SIGHUP: the policy is read again, from `ENV_FILE`, and the certificate of the public listener.
//!
//! Requests under way keep the policy they began with, so none is lost or judged by halves.

use aftercall_common::{
    http::tls::Tls,
    process::config::{self, ConfigError, ENV_FILE},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::policy::{Policy, ReloadablePolicy};
use crate::Config;

/// Takes up a changed policy and certificate at every SIGHUP until `stop`; `expiry` shows how long the latter lasts.
///
/// # Errors
/// The system does not let us listen for the signal.
pub fn on_hangup(
    config: Config,
    live: ReloadablePolicy,
    tls: Option<Tls>,
    expiry: Gauge,
    stop: CancellationToken,
) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while stop.run_until_cancelled(hangup.recv()).await.is_some() {
            let reloaded = tls.as_ref().map(Tls::reload);
            expiry.set(tls.as_ref().map_or(0, Tls::expires));
            match reloaded {
                Some(Ok(())) => tracing::info!("SIGHUP: certificate read again"),
                Some(Err(error)) => tracing::error!(%error, "SIGHUP: the certificate stays as it was"),
                None => {}
            }
            match reload(&config, &live) {
                Ok(true) => live.get().warn(),
                Ok(false) => tracing::info!("SIGHUP: nothing has changed"),
                Err(error) => tracing::error!(%error, "SIGHUP: nothing was taken up"),
            }
        }
    })
}

/// Whether there was a change to take up.
fn reload(config: &Config, live: &ReloadablePolicy) -> Result<bool, ConfigError> {
    let vars = config::environment()?;
    if !vars.iter().any(|(name, value)| name == ENV_FILE && !value.trim().is_empty()) {
        tracing::warn!("SIGHUP: ENV_FILE is unset, and the environment of a process cannot change");
        return Ok(false);
    }
    config::check_file_is_complete(&vars)?;
    let fresh = Config::from_vars(vars)?;
    if fresh.to_string() != config.to_string() {
        tracing::warn!("SIGHUP: ENV_FILE also changes what is only read at the start; restart to take it up");
    }
    let policy: Policy = fresh.policy;
    live.get().check_successor(&policy)?;
    if policy == *live.get() {
        return Ok(false);
    }
    tracing::info!(policy = policy.to_string().replace('\n', " "), "SIGHUP: policy taken up");
    live.set(policy);
    Ok(true)
}
