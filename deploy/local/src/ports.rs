//! Free ports for servers that must come back on the same port after a restart.
//!
//! Never from the kernel's own range of short-lived ports (32768 and up): while a server is away, an
//! outgoing connection could be given its port, or a client could connect to itself.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::bail;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// How many were given out. Each port goes to one caller of this process only.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A free port on 127.0.0.1, not given to anybody else in this process.
pub fn free() -> anyhow::Result<u16> {
    // Processes start at different places, so that test runs side by side do not meet.
    let start = std::process::id().wrapping_mul(131) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((start + step) % u32::from(COUNT)).expect("below COUNT");
        if is_free(SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset))) {
            return Ok(FIRST + offset);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + COUNT - 1)
}

/// Whether nobody listens on `address` and we may.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<_> = (0..50).map(|_| free().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }
}
