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
        // Each address is held until all are chosen, so that none is chosen a second time.
        let mut held = listen_on_options(options)?;
        let [nats, nats_monitor, mongod, simulator] =
            server_ports(file, ["nats", "nats-monitor", "mongod", "simulator"], &mut held)?;
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
fn server_ports<const N: usize>(
    file: &Path,
    names: [&str; N],
    held: &mut Vec<TcpListener>,
) -> anyhow::Result<[u16; N]> {
    let earlier = std::fs::read_to_string(file).unwrap_or_default();
    // An unreadable file means new ports.
    let mut known: BTreeMap<String, u16> = serde_json::from_str(&earlier).unwrap_or_default();
    let mut ports = [0; N];
    // The known ports first, so that no other server gets one of them.
    for (port, name) in ports.iter_mut().zip(names) {
        let listener = known.get(name).and_then(|port| listen(*port).ok());
        *port = listener.as_ref().map_or(0, |_| known[name]);
        held.extend(listener);
    }
    for (port, name) in ports.iter_mut().zip(names) {
        if *port == 0 {
            *port = ports::free()?;
            held.push(listen(*port)?);
        }
        known.insert(name.to_owned(), *port);
    }
    std::fs::write(file, serde_json::to_string(&known)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ports)
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
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

    #[test]
    fn no_port_is_chosen_twice_if_an_earlier_run_had_the_next_ports_of_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ports.json");
        let next = ports::free().unwrap() + 1;
        std::fs::write(&file, serde_json::json!({ "mongod": next, "simulator": next + 1 }).to_string())
            .unwrap();
        let free: Vec<_> = ["--listen", "--gateway-admin", "--worker-admin", "--console"]
            .into_iter()
            .flat_map(|option| [option, "127.0.0.1:0"])
            .collect();
        let chosen = Addresses::choose(&options(&[free, vec!["--workers", "4"]].concat()), &file).unwrap();
        let workers = chosen.more_workers.iter().map(SocketAddr::port);
        let servers = [chosen.nats, chosen.nats_monitor, chosen.mongod, chosen.simulator];
        let mut all: Vec<_> = workers.chain(servers).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 7, "{chosen:?}");
    }
}
