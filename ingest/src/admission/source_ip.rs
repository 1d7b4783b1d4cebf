//! Who sent a request, and whether they may: pure decisions over addresses.
//!
//! Invariant: what a client writes into a header counts only as far as trusted proxies vouch for
//! it, so a spoofed header never changes the decision. IPv4 addresses written as IPv6
//! (`::ffff:1.2.3.4`) are IPv4 everywhere: peer, hops and lists.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};

use hyper::{HeaderMap, header::HeaderValue};
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// The addresses `ElevenLabs` publishes for webhooks: its documentation page "IP allowlisting"
/// (`eleven-api/resources/ip-allowlisting`), as of October 2026. US, EU and Asia (any default
/// workspace may use all six), then EU, India and Singapore residency.
pub const ELEVENLABS: [Ipv4Addr; 12] = [
    Ipv4Addr::new(34, 67, 146, 145),
    Ipv4Addr::new(34, 59, 11, 47),
    Ipv4Addr::new(35, 204, 38, 71),
    Ipv4Addr::new(34, 147, 113, 54),
    Ipv4Addr::new(35, 185, 187, 110),
    Ipv4Addr::new(35, 247, 157, 189),
    Ipv4Addr::new(34, 77, 234, 246),
    Ipv4Addr::new(34, 140, 184, 144),
    Ipv4Addr::new(34, 93, 26, 174),
    Ipv4Addr::new(34, 93, 252, 69),
    Ipv4Addr::new(34, 87, 23, 17),
    Ipv4Addr::new(34, 126, 179, 103),
];

/// The headers in which proxies say for whom they forward a request.
pub const FORWARDING_HEADERS: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The address of the connection, or the one that trusted proxies forwarded for.
    pub address: IpAddr,
    /// Whether the sender itself holds the connection: the peer is no trusted proxy, and no header says
    /// that the request was forwarded. Only a direct sender can be "this machine".
    pub is_direct: bool,
}

/// Why the sender of a request cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSender {
    /// A proxy that is not in `TRUSTED_PROXIES` forwarded the request, or the sender pretends so.
    UntrustedProxy,
    /// An address in `X-Forwarded-For` cannot be read.
    UnreadableHop,
}

/// Finds the sender of a request that came from `peer` with `headers`.
///
/// # Errors
/// See [`UnknownSender`]. Such a request must be refused.
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

/// The address of the client: the peer, or, as far as trusted proxies vouch, the address that they
/// forwarded for. `None` means that it cannot be known.
///
/// `forwarded` is the value of every `X-Forwarded-For` line in the order received. The walk goes
/// from the right, each hop vouched for by the trusted one after it; the first hop that is not
/// trusted is the client. When every hop is trusted, the leftmost is. Azure's gateways write the port
/// behind the address (`v4:port`, `[v6]`, `[v6]:port`), so a port is read and ignored. A hop of any other
/// form ends in `None`, because the hops left of it are worth nothing.
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

/// A list of networks. Reads from a comma list of CIDRs and bare addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<String> for Networks {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        items(&list)?.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// The networks webhooks may come from: [`Networks`] that also know the words `loopback` and
/// `elevenlabs`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Sources {
    networks: Networks,
    text: String,
}

impl Sources {
    /// Whether a webhook may come from `sender`. A loopback address counts for a direct sender only:
    /// behind a proxy on this machine it would stand for the whole world.
    pub fn contain(&self, sender: Sender) -> bool {
        self.networks.contains(sender.address) && (sender.is_direct || !sender.address.is_loopback())
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::try_from("elevenlabs".to_owned()).expect("the word is known")
    }
}

impl TryFrom<String> for Sources {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let items = items(&list)?;
        let text = items.join(",");
        let mut networks = Vec::new();
        for item in items {
            match item {
                "loopback" => networks.extend([network("127.0.0.0/8")?, network("::1")?]),
                "elevenlabs" => networks.extend(ELEVENLABS.map(|address| IpNet::from(IpAddr::V4(address)))),
                item => networks.push(network(item)?),
            }
        }
        Ok(Self { networks: Networks(networks), text })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn items(list: &str) -> Result<Vec<&str>, String> {
    let items: Vec<_> = list.split(',').map(str::trim).collect();
    match items.iter().position(|item| item.is_empty()) {
        Some(n) => Err(format!("item {} of the list is empty", n + 1)),
        None => Ok(items),
    }
}

fn network(item: &str) -> Result<IpNet, String> {
    const MAPPED_BITS: u8 = 96;
    let network = item
        .parse::<IpNet>()
        .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("'{item}' is neither an address nor a network"))?
        .trunc();
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= MAPPED_BITS
    {
        let v4 = Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS).map_err(|error| error.to_string())?;
        return Ok(IpNet::V4(v4));
    }
    Ok(network)
}

#[cfg(test)]
mod tests;
