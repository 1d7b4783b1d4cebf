//! HTTP clients for the processes that this crate starts, and the settings with which a gateway accepts their
//! requests without credentials.

use std::time::Duration;

/// Variables of a gateway that listens on this machine only: it accepts webhooks without a signature, and serves
/// `/api/agent-calls` without a token. ElevenLabs' addresses are allowed too, so that a tunnel can be tried.
pub const OPEN_GATEWAY: [(&str, &str); 3] =
    [("ALLOW_UNSIGNED", "true"), ("ALLOWED_SOURCES", "loopback,elevenlabs"), ("API_ANONYMOUS", "all")];

/// The client closes a connection that has been idle for this time. The gateway does so after `HEADER_TIMEOUT` (10 s):
/// the client is earlier, so it sends no request on a connection that is being closed.
const MAX_IDLE: Duration = Duration::from_secs(5);

/// An HTTP client whose requests fail after `timeout`.
///
/// It ignores the proxy variables of the environment, because every server it talks to is on this machine.
pub fn http_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    Ok(http_client_builder(timeout).build()?)
}

/// A builder with the settings of [`http_client`].
pub fn http_client_builder(timeout: Duration) -> reqwest::ClientBuilder {
    // reqwest needs a TLS provider even for plain HTTP. The error is ignored: a provider is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(timeout).no_proxy().tcp_nodelay(true);
    client.pool_idle_timeout(MAX_IDLE)
}
