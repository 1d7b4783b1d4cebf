//! Finds the address of a request's sender. Pure.
//!
//! Invariant: a forwarding header counts only if a trusted proxy wrote it, so a forged header never changes
//! the result. IPv4 addresses written as IPv6 (`::ffff:1.2.3.4`) count as IPv4 addresses, both for the peer
//! and in headers.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str,
};

use aftercall_common::process::networks::Networks;
use hyper::{HeaderMap, header::HeaderValue};

use crate::config::Sources;

/// The headers in which proxies name the sender for which they forward a request.
pub const FORWARDING_HEADERS: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The address of the connection, or the one that trusted proxies forwarded for.
    pub address: IpAddr,
    /// Whether the sender holds the connection itself: the peer is not a trusted proxy, and the request has
    /// no forwarding header. Only a direct sender can be on the gateway's own machine.
    pub is_direct: bool,
}

/// Why the sender of a request is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSender {
    /// The request has a forwarding header, but the peer is not in `TRUSTED_PROXIES`.
    UntrustedProxy,
    /// An address in `X-Forwarded-For` cannot be read.
    UnreadableHop,
}

impl Sender {
    /// Whether webhooks of this sender are accepted from `sources`. A loopback address counts for a direct
    /// sender only: behind a proxy on the gateway's machine, every sender could appear with such an address.
    pub fn is_in(self, sources: &Sources) -> bool {
        sources.networks().contains(self.address) && (self.is_direct || !self.address.is_loopback())
    }
}

/// Finds the sender of a request with `headers` on a connection from `peer`.
///
/// # Errors
/// See [`UnknownSender`]. The gateway refuses such a request.
pub fn sender(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Result<Sender, UnknownSender> {
    let peer = peer.to_canonical();
    if trusted.contains(peer) {
        let lines = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
        let address = client(peer, lines, trusted).ok_or(UnknownSender::UnreadableHop)?;
        Ok(Sender { address, is_direct: false })
    } else if FORWARDING_HEADERS.iter().any(|&name| headers.contains_key(name)) {
        Err(UnknownSender::UntrustedProxy)
    } else {
        Ok(Sender { address: peer, is_direct: true })
    }
}

/// The address of the client: the peer, or the address that trusted proxies forwarded for. `None`: unknown.
///
/// `forwarded` holds the value of every `X-Forwarded-For` line in the order received. The search goes through
/// the hops from right to left, because each trusted proxy appends the address of its own peer. The first hop
/// that is not a trusted proxy is the client. If every hop is a trusted proxy, the leftmost hop is the
/// client. Azure's gateways write a port after the address (`v4:port`, `[v6]`, `[v6]:port`); the port is
/// ignored. Any other form of a hop gives `None`, because the hops to its left cannot be trusted.
pub fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &Networks,
) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    for hop in forwarded.rev().flat_map(|line| line.rsplit(|&byte| byte == b',')) {
        if !trusted.contains(client) {
            return Some(client);
        }
        client = hop_address(hop)?.to_canonical();
    }
    Some(client)
}

/// The address of one hop, with or without a port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address);
    }
    if let Some(bare) = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')) {
        return bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    match hop.parse::<SocketAddr>().ok()? {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
        address => Some(address.ip()),
    }
}

#[cfg(test)]
mod tests;
