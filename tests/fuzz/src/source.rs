//! The client address of a request, and whether it may send.
//!
//! Input: a line each with trusted proxies, allowed sources and the peer, then lines of `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aftercall_common::process::networks::Networks;
use aftercall_ingest::{
    admission::source_ip::{Sender, client},
    config::Sources,
};

use crate::input::line;

/// Forged headers in front of a real one.
const SPOOFED: [&str; 6] = ["127.0.0.1", "::1", "10.0.0.1", "34.67.146.145", "", "garbage"];

/// Checks that the client address follows the rule, and that headers of the client itself do not change it.
pub fn run(data: &[u8]) {
    let (trusted, rest) = line(data);
    let (allowed, rest) = line(rest);
    let (peer, rest) = line(rest);
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let trusted = Networks::try_from(text(trusted)).unwrap_or_default();
    let allowed = Sources::try_from(text(allowed)).unwrap_or_default();
    let peer: IpAddr = text(peer).trim().parse().unwrap_or(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    let lines: Vec<&[u8]> =
        if rest.is_empty() { Vec::new() } else { rest.split(|&byte| byte == b'\n').collect() };

    keeps_its_value_when_printed_and_read(&trusted, &allowed);
    let found = client(peer, lines.iter().copied(), &trusted);
    assert_eq!(found, expected_client(peer, &lines, &trusted));
    if !trusted.contains(peer) {
        assert_eq!(found, Some(peer.to_canonical()), "a header of an untrusted peer has an effect");
    }
    let Some(address) = found else {
        return ignores_forged_headers(peer, &lines, &trusted, None);
    };
    assert_eq!(address, address.to_canonical());
    if !trusted.contains(address) {
        ignores_forged_headers(peer, &lines, &trusted, found);
    }
    let sender = |is_direct| Sender { address, is_direct }.is_in(&allowed);
    assert!(!sender(false) || sender(true), "a forwarded sender may do more than a direct one");
    assert!(!sender(false) || !address.is_loopback(), "a forwarded sender counts as this machine");
    if let IpAddr::V4(v4) = address {
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        assert_eq!(trusted.contains(address), trusted.contains(mapped), "{address} and {mapped}");
    }
}

/// The client address by a second implementation of the rule of `source_ip::client`: the last hop that is not
/// trusted.
fn expected_client(peer: IpAddr, lines: &[&[u8]], trusted: &Networks) -> Option<IpAddr> {
    let hops = lines.iter().flat_map(|line| line.split(|&byte| byte == b','));
    let parse = |hop: &[u8]| {
        let hop = std::str::from_utf8(hop).ok()?;
        let hop = hop.trim_start_matches([' ', '\t']).trim_end_matches([' ', '\t']);
        let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
        let bare = bare.and_then(|bare| bare.parse::<Ipv6Addr>().ok()).map(IpAddr::V6);
        let with_port = || hop.parse::<SocketAddr>().ok().filter(|_| !hop.contains('%')).map(|hop| hop.ip());
        hop.parse::<IpAddr>().ok().or(bare).or_else(with_port)
    };
    let mut addresses: Vec<Option<IpAddr>> = hops.map(parse).chain([Some(peer)]).collect();
    let is_trusted = |address: &Option<IpAddr>| address.is_some_and(|address| trusted.contains(address));
    let last = addresses.iter().rposition(|address| !is_trusted(address)).unwrap_or(0);
    addresses.swap_remove(last).map(|address| address.to_canonical())
}

fn ignores_forged_headers(peer: IpAddr, lines: &[&[u8]], trusted: &Networks, found: Option<IpAddr>) {
    for spoofed in SPOOFED {
        let before = [&[spoofed.as_bytes()], lines].concat();
        assert_eq!(client(peer, before.into_iter(), trusted), found, "a line {spoofed:?} in front");
        if let Some((first, rest)) = lines.split_first() {
            let first = [spoofed.as_bytes(), b", ", first].concat();
            let before = [&[&first[..]], rest].concat();
            assert_eq!(
                client(peer, before.into_iter(), trusted),
                found,
                "{spoofed:?} in front of the first hop"
            );
        }
    }
}

fn keeps_its_value_when_printed_and_read(trusted: &Networks, allowed: &Sources) {
    if *trusted != Networks::default() {
        assert_eq!(Networks::try_from(trusted.to_string()).as_ref(), Ok(trusted));
    }
    assert_eq!(Sources::try_from(allowed.to_string()).as_ref(), Ok(allowed));
}
