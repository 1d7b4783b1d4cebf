//! Lists of networks, as an operator writes them in a variable.
//!
//! IPv4 addresses written as IPv6 (`::ffff:1.2.3.4`) count as IPv4 addresses, both in a list and when an
//! address is looked up in it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// The addresses from which ElevenLabs sends webhooks, by its documentation page "IP allowlisting"
/// (`eleven-api/resources/ip-allowlisting`), as of October 2026. The first six are those of the US, the EU
/// and Asia: a workspace without data residency may use all of them. The next six are for data residency in
/// the EU, in India and in Singapore, two for each.
pub const ELEVENLABS_ADDRESSES: [Ipv4Addr; 12] = [
    Ipv4Addr::new(34, 67, 146, 145),
    Ipv4Addr::new(34, 59, 11, 47),
    Ipv4Addr::new(35, 204, 38, 71),
    Ipv4Addr::new(34, 147, 113, 54),
    Ipv4Addr::new(35, 185, 187, 110),
    Ipv4Addr::new(35, 247, 157, 189),
    Ipv4Addr::new(34, 77, 234, 246),
    Ipv4Addr::new(34, 140, 184, 144),
    Ipv4Addr::new(34, 93, 26, 174),
    Ipv4Addr::new(34, 93, 252, 69),
    Ipv4Addr::new(34, 87, 23, 17),
    Ipv4Addr::new(34, 126, 179, 103),
];

/// A list of networks. Written as a comma-separated list of CIDRs and addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TryFrom<String> for Networks {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        items(&list)?.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// The networks from which webhooks are accepted: a list like that of [`Networks`], in which the words
/// `loopback` and `elevenlabs` also stand for networks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Sources {
    networks: Networks,
    text: String,
}

impl Sources {
    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::try_from("elevenlabs".to_owned()).expect("the word is known")
    }
}

impl TryFrom<String> for Sources {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let items = items(&list)?;
        let text = items.join(",");
        let mut networks = Vec::new();
        for item in items {
            match item {
                "loopback" => networks.extend([network("127.0.0.0/8")?, network("::1")?]),
                "elevenlabs" => {
                    networks.extend(ELEVENLABS_ADDRESSES.map(|address| IpNet::from(IpAddr::V4(address))));
                }
                item => networks.push(network(item)?),
            }
        }
        Ok(Self { networks: Networks(networks), text })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The items of a comma-separated list.
///
/// # Errors
/// An item is empty.
fn items(list: &str) -> Result<Vec<&str>, String> {
    let items: Vec<_> = list.split(',').map(str::trim).collect();
    match items.iter().position(|item| item.is_empty()) {
        Some(n) => Err(format!("item {} of the list is empty", n + 1)),
        None => Ok(items),
    }
}

/// The network that `item` names.
fn network(item: &str) -> Result<IpNet, String> {
    const MAPPED_BITS: u8 = 96;
    let network = item
        .parse::<IpNet>()
        .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("'{item}' is neither an address nor a network"))?
        .trunc();
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= MAPPED_BITS
    {
        let v4 = Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS).map_err(|error| error.to_string())?;
        return Ok(IpNet::V4(v4));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_may_be_addresses_networks_loopback_or_elevenlabs() {
        let contains =
            |sources: &Sources, address: &str| sources.networks().contains(address.parse().unwrap());
        let sources =
            Sources::try_from(" loopback , elevenlabs, 10.0.0.0/8,2001:db8::/32, 192.0.2.7".to_owned())
                .unwrap();
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "34.67.146.145",
            "34.126.179.103",
            "10.255.0.1",
            "::ffff:10.0.0.1",
            "2001:db8::9",
            "192.0.2.7",
        ] {
            assert!(contains(&sources, address), "{address}");
        }
        for address in
            ["128.0.0.1", "::2", "34.67.146.146", "11.0.0.1", "192.0.2.8", "::ffff:192.0.2.8", "::"]
        {
            assert!(!contains(&sources, address), "{address}");
        }
        assert_eq!(sources.to_string(), "loopback,elevenlabs,10.0.0.0/8,2001:db8::/32,192.0.2.7");
        assert_eq!(Sources::try_from("elevenlabs".to_owned()).unwrap().networks.0.len(), 12);
    }

    #[test]
    fn unusable_item_is_named_in_the_error() {
        for (list, named) in [
            ("", "item 1"),
            ("loopback,", "item 2"),
            ("loopback,Elevenlabs", "'Elevenlabs'"),
            ("10.0.0.0/8 11.0.0.0/8", "'10.0.0.0/8 11.0.0.0/8'"),
            ("10.0.0.0/40", "'10.0.0.0/40'"),
            ("example.org", "'example.org'"),
        ] {
            let error = Sources::try_from(list.to_owned()).unwrap_err();
            assert!(error.contains(named), "{list}: {error}");
        }
    }
}
