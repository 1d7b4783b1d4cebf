//! The public listener: limits of connections, TLS and the PROXY protocol.

use std::{num::NonZeroUsize, sync::Arc};

use aftercall_common::http::{self, tls::Tls};
use tokio::net::TcpListener;

use crate::{Config, admission::reload::ReloadablePolicy, metrics::Metrics};

/// The public listener, within the limits of `config`, with at most `connections` open connections.
pub(crate) fn server(
    config: &Config,
    connections: NonZeroUsize,
    listener: TcpListener,
    tls: Option<Tls>,
    policy: ReloadablePolicy,
    metrics: &Metrics,
) -> http::Server {
    let limits = http::Limits {
        connections: connections.get(),
        header_timeout: config.header_timeout,
        linger: config.shutdown_delay,
        drain: config.shutdown_grace,
    };
    let is_proxy = move |peer| policy.get().trusted_proxies.contains(peer);
    let proxy_protocol = if config.proxy_protocol {
        http::ProxyProtocol::expected_from(is_proxy.clone())
    } else {
        http::ProxyProtocol::default()
    };
    let sources = http::PerSource::new(
        config.max_connections_per_source.get(),
        is_proxy,
        metrics.connections_refused.clone(),
    );
    http::Server {
        listener,
        limits,
        sources: Some(sources),
        tls,
        open: metrics.connections.clone(),
        displaced: metrics.connections_displaced.clone(),
        proxy_protocol,
        unreadable: Arc::new(http::Unreadable::new(metrics.connections_unreadable.clone())),
    }
}
