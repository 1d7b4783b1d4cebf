//! The addresses that events may be sent to. Pure.
//!
//! A URL comes from an operator, and its name is resolved by servers of somebody else. Without this rule such a
//! name could lead to a service of the internal network that trusts the worker's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::PrivateNetworks;

/// IPv4 networks that are not public: the special-purpose registry of IANA, multicast (224.0.0.0/4), and
/// reserved addresses with broadcast (240.0.0.0/4).
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// Global unicast addresses (RFC 4291). All others are refused: loopback, unspecified, link-local, unique local,
/// multicast, IPv4-mapped, and NAT64 (`64:ff9b::/96`), which leads to any IPv4 address.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// Networks inside of [`GLOBAL_V6`] that are not public: protocol assignments with Teredo (`2001::/23`),
/// documentation, and 6to4 (`2002::/16`), which leads to any IPv4 address.
const SPECIAL_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// The network whose first two groups are these. No prefix here is longer.
const fn v6(first: u16, second: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), length)
}

impl PrivateNetworks {
    /// Whether a connection to `address` is allowed.
    pub fn allow(self, address: IpAddr) -> bool {
        self == Self::Allowed || is_public(address)
    }
}

/// Whether everybody on the internet reaches the same machine by `address`.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_allowed() {
        for public in ["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1"]
            .into_iter()
            .chain([
                "198.17.0.1",
                "198.20.0.1",
                "223.255.255.255",
                "2606:4700::1111",
                "2a00:1450::1",
                "2003::1",
            ])
        {
            assert!(PrivateNetworks::Refused.allow(public.parse().unwrap()), "{public}");
        }
        #[rustfmt::skip]
        let refused = [
            "0.0.0.0", "0.1.2.3",                             // this network
            "127.0.0.1", "127.255.255.254",                   // loopback
            "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", // private
            "169.254.169.254",                                // link-local: metadata of clouds
            "100.64.0.1", "100.127.255.255",                  // shared by customers of a provider
            "192.0.0.1", "192.0.0.170", "192.88.99.1", "198.18.0.1", "198.19.255.255", // protocols, benchmarks
            "192.0.2.1", "198.51.100.1", "203.0.113.1",       // documentation
            "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", // multicast, reserved, broadcast
            "::", "::1",
            "::ffff:1.1.1.1", "::ffff:127.0.0.1", "::127.0.0.1", // IPv4-mapped, IPv4-compatible
            "64:ff9b::7f00:1", "64:ff9b:1::1",                // NAT64
            "100::1", "5f00::1",                              // discard, segment routing
            "2001::1", "2001:20::1", "2001:db8::1", "3fff::1", // Teredo, ORCHID, documentation
            "2002:7f00:1::1",                                 // 6to4
            "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1", // unique local, link-local, site-local, multicast
        ];
        for address in refused {
            let address = address.parse().unwrap();
            assert!(!PrivateNetworks::Refused.allow(address), "{address}");
            assert!(PrivateNetworks::Allowed.allow(address), "{address}");
        }
    }
}
