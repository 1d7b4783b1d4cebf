//! Resolves names to addresses that events may be sent to.
//!
//! The client connects to the addresses that this resolver returns and to no others. So a name that leads to a
//! public address now and to a private one a moment later (DNS rebinding) reaches no private network.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::delivery::PrivateNetworks;

/// The error of a name that has only addresses that are not allowed.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to a private address")]
pub struct PrivateAddress;

/// Resolves names with the system, and leaves out addresses that are not allowed.
pub struct Resolver(pub PrivateNetworks);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| networks.allow(address.ip())).collect();
            if allowed.is_empty() {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
