//! People whom a reverse proxy names in a header. Pure.
//!
//! Invariant: the header counts only if the peer of the connection is a trusted proxy. The proxy must replace
//! the header of a client; a header that occurs twice is refused, because one of the two may be the client's.

use std::{net::IpAddr, sync::Arc};

use aftercall_common::process::networks::Networks;
use axum::http::{HeaderMap, HeaderName};

use crate::Config;

/// Most characters of a name.
const MAX_CHARS: usize = 128;

/// A header of a trusted proxy that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// The header is empty.
    #[error("is empty")]
    Empty,
    /// The name is too long.
    #[error("has more than {MAX_CHARS} characters")]
    TooLong,
    /// The name is not UTF-8, or has control characters.
    #[error("is not readable as text")]
    Unreadable,
    /// The request has the header several times.
    #[error("occurs more than once, so a client may have written it")]
    Several,
}

/// The address of the peer of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The header, and the proxies that may write it.
#[derive(Clone, Debug)]
pub struct NamingProxies {
    header: HeaderName,
    proxies: Networks,
}

impl NamingProxies {
    /// The settings of `config`. `None`: no proxy names people.
    pub fn of(config: &Config) -> Option<Self> {
        let header = config.console_user_header.as_ref()?.name().clone();
        Some(Self { header, proxies: config.console_trusted_proxies.clone() })
    }

    /// The name of the header.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Whom the proxy `peer` names in `headers`. `None`: the peer is no trusted proxy, or names nobody.
    ///
    /// # Errors
    /// A trusted proxy sent a header that is no name.
    pub fn name(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Option<Arc<str>>, BadName> {
        if !self.proxies.contains(peer) {
            return Ok(None);
        }
        let mut values = headers.get_all(&self.header).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(BadName::Several);
        }
        let name = std::str::from_utf8(value.as_bytes()).map_err(|_error| BadName::Unreadable)?.trim();
        match name.chars().count() {
            0 => Err(BadName::Empty),
            1..=MAX_CHARS if name.chars().any(char::is_control) => Err(BadName::Unreadable),
            1..=MAX_CHARS => Ok(Some(name.into())),
            _ => Err(BadName::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn name(peer: &str, values: &[&[u8]]) -> Result<Option<Arc<str>>, BadName> {
        let proxies = Networks::try_from("10.0.0.0/8,::1".to_owned()).unwrap();
        let header = HeaderName::from_static("x-forwarded-user");
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&header, HeaderValue::from_bytes(value).unwrap());
        }
        NamingProxies { header, proxies }.name(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn only_a_trusted_proxy_names_a_person() {
        for peer in ["10.0.0.7", "::ffff:10.0.0.7", "::1"] {
            assert_eq!(name(peer, &[b"ana"]), Ok(Some("ana".into())), "{peer}");
        }
        for peer in ["11.0.0.1", "127.0.0.1", "::2", "::ffff:11.0.0.1"] {
            assert_eq!(name(peer, &[b"ana"]), Ok(None), "{peer}");
            assert_eq!(name(peer, &[b"ana", b""]), Ok(None), "{peer}: the header is not looked at");
        }
    }

    #[test]
    fn a_header_that_is_no_name_is_refused() {
        let (long, fits) = ("é".repeat(MAX_CHARS + 1), "é".repeat(MAX_CHARS));
        #[rustfmt::skip]
        let table = [
            (vec![],                              Ok(None)),
            (vec![&b" ana@example.com "[..]],     Ok(Some("ana@example.com"))),
            (vec!["Zo\u{eb} <b>".as_bytes()],     Ok(Some("Zo\u{eb} <b>"))),
            (vec![fits.as_bytes()],               Ok(Some(&fits))),
            (vec![long.as_bytes()],               Err(BadName::TooLong)),
            (vec![b""],                           Err(BadName::Empty)),
            (vec![b" \t "],                       Err(BadName::Empty)),
            (vec![b"an\xffa"],                    Err(BadName::Unreadable)),
            (vec![b"mallory", b"ana"],            Err(BadName::Several)),
        ];
        for (values, expected) in table {
            let expected = expected.map(|name| name.map(Arc::from));
            assert_eq!(name("10.0.0.1", &values), expected, "{values:?}");
        }
    }
}
