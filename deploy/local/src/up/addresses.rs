//! Chooses all addresses before any process starts, so that a taken port is reported in one line.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::options::Options;
use crate::ports;

/// The addresses that no option names.
#[derive(Debug)]
pub struct Addresses {
    pub nats: u16,
    pub nats_monitor: u16,
    pub mongod: u16,
    pub simulator: u16,
    /// Health and metrics of the workers after the first.
    pub more_workers: Vec<SocketAddr>,
}

impl Addresses {
    /// Chooses free ports. A server gets the port again that an earlier run has written to `file`, if it is
    /// free.
    ///
    /// Fails if an address that an option names cannot be used. The error names the option.
    pub fn choose(options: &Options, file: &Path) -> anyhow::Result<Self> {
        // Held until all ports are chosen, so that none of them is chosen a second time.
        let _held = listen_on_options(options)?;
        let [nats, nats_monitor, mongod, simulator] =
            server_ports(file, ["nats", "nats-monitor", "mongod", "simulator"])?;
        let more_workers = (1..options.workers).map(|_| Ok((Ipv4Addr::LOCALHOST, ports::free()?).into()));
        Ok(Self {
            nats,
            nats_monitor,
            mongod,
            simulator,
            more_workers: more_workers.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// Listens on the addresses that options name.
fn listen_on_options(options: &Options) -> anyhow::Result<Vec<TcpListener>> {
    let wanted = [
        ("--listen", options.listen),
        ("--gateway-admin", options.gateway_admin),
        ("--worker-admin", options.worker_admin),
        ("--console", options.console),
    ];
    let mut listeners = Vec::new();
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
    Ok(listeners)
}

/// A free address with a port close to that of `address`, for the error message.
fn alternative(address: SocketAddr) -> SocketAddr {
    let near = (1..=100).filter_map(|step| address.port().checked_add(step));
    let mut free = near.map(|port| SocketAddr::new(address.ip(), port)).filter(|near| ports::is_free(*near));
    free.next().unwrap_or(address)
}

/// Ports for the servers in `names`. A port that an earlier run has written to `file` is used again if it is
/// free.
fn server_ports<const N: usize>(file: &Path, names: [&str; N]) -> anyhow::Result<[u16; N]> {
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn options(args: &[&str]) -> Options {
        let command = Options::augment_args(clap::Command::new("up").no_binary_name(true));
        Options::from_arg_matches(&command.get_matches_from(args)).unwrap()
    }

    #[test]
    fn port_of_an_earlier_run_is_used_again_unless_an_option_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let addresses: Vec<_> = (0..5).map(|_| format!("127.0.0.1:{}", ports::free().unwrap())).collect();
        let choose = |listen: &str| {
            let others = ["--gateway-admin", "--worker-admin", "--console"];
            let mut args = vec!["--listen", listen, "--workers", "2"];
            args.extend(others.iter().zip(&addresses).flat_map(|(option, address)| [*option, address]));
            Addresses::choose(&options(&args), &file).unwrap()
        };
        let first = choose(&addresses[3]);
        let second = choose(&format!("127.0.0.1:{}", first.nats));
        assert_ne!(second.nats, first.nats);
        assert_eq!(second.mongod, first.mongod);
        assert_eq!(second.more_workers.len(), 1);
    }
}
