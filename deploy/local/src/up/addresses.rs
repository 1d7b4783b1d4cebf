//! Checks addresses before any process starts, so that a taken port is reported in one line.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::options::Options;
use crate::ports;

/// Fails if one of the fixed addresses cannot be used. The error names the option that changes it.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let wanted = [
        ("--listen", options.listen),
        ("--gateway-admin", options.gateway_admin),
        ("--worker-admin", options.worker_admin),
        ("--console", options.console),
    ];
    let mut listeners = Vec::new(); // Held until all are checked, because two options may name the same address.
    for (option, address) in wanted {
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "port {} is taken: stop the program on {address}, or choose another port with {option} {}",
                address.port(),
                alternative(address)
            ),
            Err(error) => bail!("cannot listen on {address} ({error}): choose another address with {option}"),
        }
    }
    Ok(())
}

/// A free address with a port close to that of `address`, for the error message.
fn alternative(address: SocketAddr) -> SocketAddr {
    let near = (1..=100).filter_map(|step| address.port().checked_add(step));
    let mut free = near.map(|port| SocketAddr::new(address.ip(), port)).filter(|near| ports::is_free(*near));
    free.next().unwrap_or(address)
}

/// Ports for the servers in `names`. A port that an earlier run has written to `file` is used again if it is
/// free.
pub fn server_ports<const N: usize>(file: &Path, names: [&str; N]) -> anyhow::Result<[u16; N]> {
    let earlier = std::fs::read_to_string(file).unwrap_or_default();
    // An unreadable file means new ports.
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
