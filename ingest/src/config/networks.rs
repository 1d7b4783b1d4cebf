//! The networks from which webhooks are accepted, as an operator writes them in a variable.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use aftercall_common::process::networks::{Networks, items, network};
use ipnet::IpNet;
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
        Ok(Self { networks: networks.into_iter().collect(), text })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
        let elevenlabs = Sources::try_from("elevenlabs".to_owned()).unwrap();
        assert_eq!(elevenlabs.networks().to_string().split(',').count(), 12);
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
