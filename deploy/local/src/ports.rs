//! Free ports for servers that must use the same port again after a restart.
//!
//! The ports are below the kernel's range of ephemeral ports (32768 and up). While a server is down, an
//! outgoing connection could otherwise get its port, and a client could connect to itself.
//!
//! Some time passes until a server listens at its port. So that no other process picks the port meanwhile, each
//! process takes ports from blocks of its own: it listens on the first port of a block until it ends. The search
//! begins at a block that depends on the process, so that the blocks of an ended process are not given at once to
//! the next one, while a third program may still use a port of them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

use anyhow::bail;

/// The range of ports.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 200;
const PORTS_OF_A_BLOCK: u16 = 50;

/// The ports of this process.
static OWN: Mutex<Ports> = Mutex::new(Ports { guards: Vec::new(), left: 0..0, tried: 0 });

struct Ports {
    /// The listeners on the first ports of the blocks of this process. Nobody connects to them.
    guards: Vec<TcpListener>,
    /// The ports of its last block that were not tried yet.
    left: Range<u16>,
    /// Blocks that it tried to take.
    tried: u16,
}

/// A free port on 127.0.0.1. No two calls return the same port, also calls of other processes.
///
/// Fails if the whole range is in use.
pub fn free() -> anyhow::Result<u16> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(port) = own.left.find(|port| is_free(local(*port))) {
            return Ok(port);
        }
        own.take_block()?;
    }
}

/// Whether this process could listen on `address`.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Ports {
    /// Takes the next block that no process has.
    fn take_block(&mut self) -> anyhow::Result<()> {
        while self.tried < BLOCKS {
            let begin = std::process::id() % u32::from(BLOCKS);
            let block = (begin + u32::from(self.tried)) % u32::from(BLOCKS);
            let first = FIRST + u16::try_from(block)? * PORTS_OF_A_BLOCK;
            self.tried += 1;
            if let Ok(guard) = TcpListener::bind(local(first)) {
                self.guards.push(guard);
                self.left = first + 1..first + PORTS_OF_A_BLOCK;
                return Ok(());
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + BLOCKS * PORTS_OF_A_BLOCK - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_never_returns_a_port_twice() {
        let mut ports: Vec<_> = (0..2 * PORTS_OF_A_BLOCK).map(|_| free().unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 2 * usize::from(PORTS_OF_A_BLOCK));
    }

    #[test]
    fn block_belongs_to_one_holder() {
        let new = || Ports { guards: Vec::new(), left: 0..0, tried: 0 };
        let (mut one, mut other) = (new(), new());
        one.take_block().unwrap();
        other.take_block().unwrap();
        assert_ne!(one.left, other.left);
    }
}
