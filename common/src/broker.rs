//! The connection to NATS, the same for every process.
//!
//! Connecting returns at once and goes on in the background for as long as it takes: a process
//! starts while the broker is away and becomes ready when it is back. What must not wait asks
//! [`is_connected`] first: the client would otherwise buffer publishes and deliver them later.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection::State};
use rand::RngExt as _;

use crate::config::{ConfigError, Url};

/// A peer that does not answer two pings in a row is taken for dead.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// Starts connecting to `url` (one or several, comma separated) as `name`.
///
/// # Errors
/// An unreadable credentials file or an unusable URL. An absent broker is not an error.
pub async fn connect(url: &Url, credentials: Option<&Path>, name: &str) -> anyhow::Result<Client> {
    let mut options = ConnectOptions::new()
        .name(name)
        .retry_on_initial_connect()
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(|event| async move { log(&event) });
    if let Some(file) = credentials {
        options = options.credentials_file(file).await.context("NATS_CREDS_FILE cannot be read")?;
    }
    options.connect(addresses(url)?).await.with_context(|| format!("connecting to NATS at {url}"))
}

/// The servers `url` names. What fails here is a wrong `NATS_URL`.
fn addresses(url: &Url) -> Result<Vec<ServerAddr>, ConfigError> {
    let parsed: Result<_, std::io::Error> = url.expose().split(',').map(|part| part.trim().parse()).collect();
    // The client's own error may repeat credentials.
    parsed.map_err(|_error| ConfigError::new("NATS_URL", format!("not a list of NATS addresses: {url}")))
}

/// What can be told of `NATS_URL` and `NATS_CREDS_FILE` before connecting.
pub fn check(url: &Url, credentials: Option<&Path>) -> Result<(), ConfigError> {
    addresses(url)?;
    if let Some(Err(error)) = credentials.map(std::fs::File::open) {
        return Err(ConfigError::new("NATS_CREDS_FILE", format!("cannot be read: {error}")));
    }
    Ok(())
}

/// Whether the broker can be reached right now.
pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Doubles from 4 ms, at most [`MAX_RECONNECT_DELAY`], with jitter so that many clients of one
/// restarted broker do not come back in step.
fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts.min(16)).expect("at most 16");
    let ceiling = Duration::from_millis(4).saturating_mul(1 << exponent).min(MAX_RECONNECT_DELAY);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS; reconnecting"),
        Event::ClientError(error) => tracing::warn!(%error, "NATS client"),
        Event::ServerError(error) => tracing::error!(%error, "NATS server"),
        other => tracing::debug!(event = %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_delays_are_bounded() {
        for attempts in 0..200 {
            let delay = reconnect_delay(attempts);
            assert!(delay <= MAX_RECONNECT_DELAY, "attempt {attempts}: {delay:?}");
        }
        assert!(reconnect_delay(50) >= MAX_RECONNECT_DELAY / 2);
    }
}
