//! The policy in force, and its reload on SIGHUP.
//!
//! Invariants:
//! - One policy applies to the whole of a request. A reload does not change the policy of requests that have
//!   begun.
//! - A policy that cannot be used does not replace the policy in force.

use std::sync::{Arc, PoisonError, RwLock};

use aftercall_common::{
    http::tls::Tls,
    process::config::{self, ConfigError, ENV_FILE},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    config::{Policy, SECRET_FILE},
};

/// The policy in force. Cheap to clone, and all clones see the same policy.
#[derive(Clone, Debug)]
pub struct ReloadablePolicy(Arc<RwLock<Arc<Policy>>>);

impl ReloadablePolicy {
    /// Starts with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The policy for one request.
    pub fn get(&self) -> Arc<Policy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the policy for all requests that begin from now on.
    pub fn set(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

/// Reads the policy from `ENV_FILE` and `ELEVENLABS_WEBHOOK_SECRET_FILE`, and the certificate of the public
/// listener, at every SIGHUP until `stop`. The gauge `expiry` shows when the certificate expires.
///
/// # Errors
/// The system does not allow a handler for the signal.
pub fn on_hangup(
    config: Config,
    policy: ReloadablePolicy,
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
                Some(Ok(())) => tracing::info!("SIGHUP: the certificate was reloaded"),
                Some(Err(error)) => {
                    tracing::error!(%error, "SIGHUP: the certificate cannot be reloaded; the old one stays in use");
                }
                None => {}
            }
            match reload(&config, &policy) {
                Ok(true) => policy.get().warn(),
                Ok(false) => tracing::info!("SIGHUP: the policy has not changed"),
                Err(error) => {
                    tracing::error!(%error, "SIGHUP: the policy cannot be reloaded; the old one stays in force");
                }
            }
        }
    })
}

/// Reads the policy again. True: it has changed.
fn reload(config: &Config, policy: &ReloadablePolicy) -> Result<bool, ConfigError> {
    let vars = config::environment()?;
    let is_file = |name: &str| name == ENV_FILE || name == SECRET_FILE;
    if !vars.iter().any(|(name, value)| is_file(name) && !value.trim().is_empty()) {
        tracing::warn!(
            "SIGHUP: ENV_FILE and ELEVENLABS_WEBHOOK_SECRET_FILE are unset, so there is nothing to reload: the environment of a process cannot change"
        );
        return Ok(false);
    }
    config::check_file_is_complete(&vars)?;
    let fresh = Config::from_vars(vars)?;
    if config.needs_restart(&fresh) {
        tracing::warn!(
            "SIGHUP: ENV_FILE changes a variable that is read only at the start; restart the gateway to apply it"
        );
    }
    let next = fresh.policy;
    policy.get().check_successor(&next)?;
    if next == *policy.get() {
        return Ok(false);
    }
    tracing::info!(policy = next.to_string().replace('\n', " "), "SIGHUP: the policy was reloaded");
    policy.set(next);
    Ok(true)
}
