//! HTTP clients for talking to our own processes.

use std::time::Duration;

/// A client whose requests end after `timeout`, whatever happens.
///
/// Proxies of the environment are not used: everything it talks to is on this machine.
pub fn http_client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    Ok(http_client_builder(timeout).build()?)
}

/// The same, for whoever wants it a little different.
pub fn http_client_builder(timeout: Duration) -> reqwest::ClientBuilder {
    // reqwest insists on a TLS provider, even for plain HTTP. An error says that one is installed.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(timeout).no_proxy().tcp_nodelay(true)
}
