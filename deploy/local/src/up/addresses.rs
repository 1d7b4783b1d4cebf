//! Are the addresses free? Asked before anything is started, so that the answer is one line.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::Options;
use crate::ports;

/// Fails with the port and the option that changes it, if one of the fixed addresses cannot be used.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let wanted = [
        ("--listen", options.listen),
        ("--gateway-admin", options.gateway_admin),
        ("--worker-admin", options.worker_admin),
        ("--console", options.console),
    ];
    let mut taken = Vec::new(); // Held until all are checked: two options may name the same.
    for (option, address) in wanted {
        match TcpListener::bind(address) {
            Ok(listener) => taken.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "port {} is taken: stop what listens on {address}, or choose another port with {option} {}",
                address.port(),
                another(address)
            ),
            Err(error) => bail!("cannot listen on {address} ({error}): choose another address with {option}"),
        }
    }
    Ok(())
}

/// A free address near `address`, as a suggestion.
fn another(address: SocketAddr) -> SocketAddr {
    let near = (1..=100).filter_map(|step| address.port().checked_add(step));
    let mut free = near.map(|port| SocketAddr::new(address.ip(), port)).filter(|near| ports::is_free(*near));
    free.next().unwrap_or(address)
}

/// Ports of the servers behind: the same as in earlier runs where they are still free.
pub fn server_ports<const N: usize>(file: &Path, names: [&str; N]) -> anyhow::Result<[u16; N]> {
    let earlier = std::fs::read_to_string(file).unwrap_or_default();
    // Written by ourselves; if it is unreadable, new ports do as well.
    let mut known: BTreeMap<String, u16> = serde_json::from_str(&earlier).unwrap_or_default();
    let mut ports = [0; N];
    for (port, name) in ports.iter_mut().zip(names) {
        let free = |port: &u16| ports::is_free((Ipv4Addr::LOCALHOST, *port).into());
        *port = known.get(name).copied().filter(free).map_or_else(ports::free, Ok)?;
        known.insert(name.to_owned(), *port);
    }
    std::fs::write(file, serde_json::to_string(&known)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ports)
}
