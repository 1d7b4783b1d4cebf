//! The URL of an endpoint. Pure.

use std::{fmt, net::IpAddr};

use reqwest::Url;

use super::PrivateNetworks;

/// Longest URL, in bytes.
const MAX_LENGTH: usize = 2048;

/// An absolute `http` or `https` URL without credentials and fragment.
///
/// Its path and query may hold a token of the receiver. So every form for people shows only scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

/// Why a URL cannot be that of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is not a URL.
    #[error("is not a URL, such as https://example.com/webhooks")]
    Unreadable,
    /// It is too long.
    #[error("is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// The scheme is neither `https` nor `http`.
    #[error("must begin with https://")]
    Scheme,
    /// It holds a user name or a password.
    #[error("must hold no user name and no password; the receiver checks the signature instead")]
    Credentials,
    /// The scheme is `http`, and private networks are refused.
    #[error("must begin with https://, unless DELIVER_TO_PRIVATE_NETWORKS=true")]
    Unencrypted,
    /// The host is an address that is not public.
    #[error("leads to a private address, which only DELIVER_TO_PRIVATE_NETWORKS=true allows")]
    PrivateAddress,
}

impl EndpointUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`UrlError`]. The error does not repeat the URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
        let mut url = Url::parse(text.trim()).map_err(|_error| UrlError::Unreadable)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Credentials);
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// Checks the scheme, and the host if it is an address. The client checks the addresses of a name when it
    /// connects, because a name may lead elsewhere at any time.
    ///
    /// # Errors
    /// [`UrlError::Unencrypted`], [`UrlError::PrivateAddress`].
    pub fn check(&self, networks: PrivateNetworks) -> Result<(), UrlError> {
        if self.0.scheme() == "http" && networks == PrivateNetworks::Refused {
            return Err(UrlError::Unencrypted);
        }
        match self.address() {
            Some(address) if !networks.allow(address) => Err(UrlError::PrivateAddress),
            _ => Ok(()),
        }
    }

    /// The host, if it is an address. The parser has converted other forms of addresses, such as `0x7f.1`.
    fn address(&self) -> Option<IpAddr> {
        self.0.host_str()?.trim_matches(['[', ']']).parse().ok()
    }

    /// The whole URL, for a request.
    pub fn url(&self) -> Url {
        self.0.clone()
    }

    /// The whole URL, for the database.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.0.path() == "/" && self.0.query().is_none() { "" } else { "/…" };
        write!(f, "{}{hidden}", self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, networks: PrivateNetworks) -> Result<(), UrlError> {
        EndpointUrl::parse(text)?.check(networks)
    }

    #[test]
    fn a_url_is_https_and_public_unless_private_networks_are_allowed() {
        use UrlError::{Credentials, PrivateAddress, Scheme, Unencrypted, Unreadable};
        #[rustfmt::skip]
        let table = [
            ("https://example.com/hook?a=b",   None,                 None),
            ("https://1.1.1.1:8443",           None,                 None),
            ("https://[2606:4700::1111]/",     None,                 None),
            ("http://example.com",             Some(Unencrypted),    None),
            ("https://127.0.0.1",              Some(PrivateAddress), None),
            ("https://0x7f.1",                 Some(PrivateAddress), None),
            ("https://2130706433",             Some(PrivateAddress), None),
            ("https://017700000001",           Some(PrivateAddress), None),
            ("https://[::ffff:10.0.0.1]",      Some(PrivateAddress), None),
            ("https://169.254.169.254/latest", Some(PrivateAddress), None),
            ("ftp://example.com",              Some(Scheme),         Some(Scheme)),
            ("https://a:b@example.com",        Some(Credentials),    Some(Credentials)),
            ("https://token@example.com",      Some(Credentials),    Some(Credentials)),
            ("/hook",                          Some(Unreadable),     Some(Unreadable)),
            ("https://",                       Some(Unreadable),     Some(Unreadable)),
        ];
        for (text, refused, allowed) in table {
            assert_eq!(check(text, PrivateNetworks::Refused).err(), refused, "{text}");
            assert_eq!(check(text, PrivateNetworks::Allowed).err(), allowed, "{text}");
        }
        assert_eq!(EndpointUrl::parse(&"x".repeat(3000)), Err(UrlError::TooLong));
    }

    #[test]
    fn a_shown_url_holds_no_token() {
        let url = EndpointUrl::parse("https://hooks.example.com:8443/services/t0ken?x=t0ken#t0ken").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://hooks.example.com:8443/… https://hooks.example.com:8443/…"
        );
        assert_eq!(EndpointUrl::parse("https://example.com").unwrap().to_string(), "https://example.com");
        assert!(!url.as_str().contains('#'));
    }
}
