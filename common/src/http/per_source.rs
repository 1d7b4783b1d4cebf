//! Limits the connections of one source.
//!
//! Invariant: the count of a source decreases when one of its connections ends, whatever the cause.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;

/// Bits of an IPv6 address that identify a source. A source with one address of a /64 controls all of them.
const IPV6_SOURCE_BITS: u32 = 64;

/// A limit on the connections of each source.
pub struct PerSource {
    max_connections: usize,
    exempt: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    refused: Counter,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl PerSource {
    /// Allows `max_connections` open connections for one IPv4 address or one IPv6 /64. Addresses for which
    /// `exempt` returns true have no limit, for example proxies of many clients. `refused` counts refused
    /// connections.
    pub fn new(
        max_connections: usize,
        exempt: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        refused: Counter,
    ) -> Arc<Self> {
        Arc::new(Self { max_connections, exempt: Box::new(exempt), refused, open: Mutex::default() })
    }

    /// Adds a connection of `address` to the count, until the permit is dropped. `None`: the limit is
    /// reached.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<SourcePermit> {
        let address = address.to_canonical();
        if (self.exempt)(address) {
            return Some(SourcePermit(None));
        }
        let source = source_of(address);
        {
            let mut open = self.open();
            let held = open.entry(source).or_default();
            if *held < self.max_connections {
                *held += 1;
                return Some(SourcePermit(Some((self.clone(), source))));
            }
        }
        self.refused.inc();
        tracing::debug!(%source, "connection refused: the source has as many open connections as one source may have");
        None
    }

    fn leave(&self, source: IpAddr) {
        let mut open = self.open();
        if let Some(held) = open.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                open.remove(&source);
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerSource").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// The permit of one connection. It holds the counted source, or `None` for an exempt address. Dropping the
/// permit decreases the count.
#[derive(Debug)]
pub(super) struct SourcePermit(Option<(Arc<PerSource>, IpAddr)>);

impl SourcePermit {
    /// Whether the address of the connection has no limit.
    pub(super) fn is_exempt(&self) -> bool {
        self.0.is_none()
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        if let Some((sources, source)) = self.0.take() {
            sources.leave(source);
        }
    }
}

/// The source of an address: the IPv4 address, or the IPv6 /64.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => {
            let kept = u128::MAX << (Ipv6Addr::BITS - IPV6_SOURCE_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_source_has_its_own_limit_and_dropped_permits_are_released() {
        let refused = Counter::default();
        let sources = PerSource::new(2, |address| address == IpAddr::from([10, 0, 0, 1]), refused.clone());
        let admit = |text: &str| sources.admit(address(text));
        let first = (admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap());
        assert!(admit("192.0.2.1").is_none() && refused.get() == 1);
        let other = admit("192.0.2.2").unwrap();
        drop(first.0);
        let again = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none() && refused.get() == 2);
        let v6 = (admit("2001:db8::1").unwrap(), admit("2001:db8:0:0:ffff::2").unwrap());
        assert!(admit("2001:db8::3").is_none() && admit("2001:db8:0:1::1").is_some());
        let proxied: Vec<_> = (0..9).map(|_| admit("10.0.0.1").unwrap()).collect();
        drop((first.1, other, again, v6, proxied));
        assert!(sources.open().is_empty(), "closed connections leave nothing behind");
    }
}
