//! The URL under which senders reach the gateway.

use std::fmt;

use aftercall_common::http::client;
use hyper::Uri;
use serde::Deserialize;

/// Scheme, host, port and path prefix of the gateway, as senders see them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct PublicUrl {
    scheme: String,
    host: String,
    port: u16,
    prefix: String,
}

impl PublicUrl {
    /// The URL of `path_and_query`, first without and then with the port.
    pub fn spellings(&self, path_and_query: &str) -> [String; 2] {
        let Self { scheme, host, port, prefix } = self;
        [
            format!("{scheme}://{host}{prefix}{path_and_query}"),
            format!("{scheme}://{host}:{port}{prefix}{path_and_query}"),
        ]
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let form = || "must be a URL like https://hooks.example.com".to_owned();
        let url: Uri = text.trim().parse().map_err(|_error| form())?;
        let (scheme, usual) = match url.scheme_str() {
            Some("https") => ("https", 443),
            Some("http") => ("http", 80),
            _ => return Err(form()),
        };
        let authority = url.authority().ok_or_else(form)?;
        if url.query().is_some() || authority.as_str().contains('@') {
            return Err(form());
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            host: authority.host().to_owned(),
            port: client::port(authority, usual).map_err(|_no_port| form())?,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spellings("")[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_scheme_host_port_and_prefix() {
        #[rustfmt::skip]
        let table = [
            ("https://h.example",        "https://h.example/p?q",      "https://h.example:443/p?q"),
            ("https://h.example/",       "https://h.example/p?q",      "https://h.example:443/p?q"),
            ("http://h.example:8080/in", "http://h.example/in/p?q",    "http://h.example:8080/in/p?q"),
        ];
        for (text, without, with) in table {
            assert_eq!(PublicUrl::try_from(text.to_owned()).unwrap().spellings("/p?q"), [without, with]);
        }
        for wrong in ["", "h.example", "ftp://h", "https://", "https://u:p@h", "https://h/?q=1"] {
            assert!(PublicUrl::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
