//! Lists of networks, as an operator writes them in a variable.
//!
//! IPv4 addresses written as IPv6 (`::ffff:1.2.3.4`) count as IPv4 addresses, both in a list and when an
//! address is looked up in it.

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

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

    /// Whether one of the networks holds every address of its family.
    pub fn has_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl TryFrom<String> for Networks {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        items(&list)?.into_iter().map(network).collect()
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// The items of a comma-separated list.
///
/// # Errors
/// An item is empty.
pub fn items(list: &str) -> Result<Vec<&str>, String> {
    let items: Vec<_> = list.split(',').map(str::trim).collect();
    match items.iter().position(|item| item.is_empty()) {
        Some(n) => Err(format!("item {} of the list is empty", n + 1)),
        None => Ok(items),
    }
}

/// The network that `item` names.
///
/// # Errors
/// `item` is neither an address nor a network.
pub fn network(item: &str) -> Result<IpNet, String> {
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
    fn a_list_says_whether_it_holds_everybody() {
        for (list, everybody) in [
            ("10.0.0.0/8,192.0.2.7", false),
            ("0.0.0.0/1", false),
            ("10.0.0.0/8,0.0.0.0/0", true),
            ("::/0", true),
        ] {
            assert_eq!(Networks::try_from(list.to_owned()).unwrap().has_everybody(), everybody, "{list}");
        }
        assert!(Networks::default().is_empty());
    }
}
