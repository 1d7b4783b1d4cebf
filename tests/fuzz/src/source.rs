//! Who a request comes from, and whether they may send.
//!
//! Input: trusted proxies, allowed sources and the peer on a line each, then lines of `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aftercall_ingest::{
    admission::source_ip::{Sender, client},
    config::{Networks, Sources},
};

use crate::line;

/// Headers that somebody might make up in front of a real one.
const SPOOFED: [&str; 6] = ["127.0.0.1", "::1", "10.0.0.1", "34.67.146.145", "", "garbage"];

/// The client is found as the rule has it, and what it wrote itself does not change who it is.
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

    same_when_read_again(&trusted, &allowed);
    let found = client(peer, lines.iter().copied(), &trusted);
    assert_eq!(found, by_the_rule(peer, &lines, &trusted));
    if !trusted.contains(peer) {
        assert_eq!(found, Some(peer.to_canonical()), "a header of an untrusted peer counted");
    }
    let Some(address) = found else {
        return left_of_it_changes_nothing(peer, &lines, &trusted, None);
    };
    assert_eq!(address, address.to_canonical());
    if !trusted.contains(address) {
        left_of_it_changes_nothing(peer, &lines, &trusted, found);
    }
    let sender = |is_direct| Sender { address, is_direct }.is_in(&allowed);
    assert!(!sender(false) || sender(true), "a forwarded sender may do more than a direct one");
    assert!(!sender(false) || !address.is_loopback(), "a forwarded sender counts as this machine");
    if let IpAddr::V4(v4) = address {
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        assert_eq!(trusted.contains(address), trusted.contains(mapped), "{address} and {mapped}");
    }
}

/// The rule of `source_ip::client` in other words: hops from the left, each with who vouches for it.
fn by_the_rule(peer: IpAddr, lines: &[&[u8]], trusted: &Networks) -> Option<IpAddr> {
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
    let vouches = |address: &Option<IpAddr>| address.is_some_and(|address| trusted.contains(address));
    let last = addresses.iter().rposition(|address| !vouches(address)).unwrap_or(0);
    addresses.swap_remove(last).map(|address| address.to_canonical())
}

fn left_of_it_changes_nothing(peer: IpAddr, lines: &[&[u8]], trusted: &Networks, found: Option<IpAddr>) {
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

fn same_when_read_again(trusted: &Networks, allowed: &Sources) {
    if *trusted != Networks::default() {
        assert_eq!(Networks::try_from(trusted.to_string()).as_ref(), Ok(trusted));
    }
    assert_eq!(Sources::try_from(allowed.to_string()).as_ref(), Ok(allowed));
}
