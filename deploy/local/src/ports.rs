//! Free ports for servers that must use the same port again after a restart.
//!
//! The ports are below the kernel's range of ephemeral ports (32768 and up). While a server is down, an
//! outgoing connection could otherwise get its port, and a client could connect to itself.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::bail;

/// The range of ports.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// Number of ports tried so far. Each port is returned at most once by this process.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// A free port on 127.0.0.1. Two calls in this process never return the same port.
///
/// Fails if the whole range is in use.
pub fn free() -> anyhow::Result<u16> {
    // Processes start at different ports, so that concurrent test runs rarely try the same ones.
    let start = std::process::id().wrapping_mul(131) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(TRIED.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((start + step) % u32::from(COUNT)).expect("below COUNT");
        if is_free(SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset))) {
            return Ok(FIRST + offset);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT - 1)
}

/// Whether this process could listen on `address`.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_never_returns_a_port_twice() {
        let mut ports: Vec<_> = (0..50).map(|_| free().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
