//! `API_CORS_ORIGINS`: the origins whose web pages may use the API.

use std::fmt;

use aftercall_common::process::networks::items;
use hyper::{Uri, header::HeaderValue};
use serde::Deserialize;

/// Exact origins, as browsers write them in the header `Origin`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Whether there is no origin.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origins.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter()
    }
}

impl TryFrom<String> for Origins {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        items(&list)?.into_iter().map(origin).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<_> = self.0.iter().filter_map(|origin| origin.to_str().ok()).collect();
        f.write_str(&origins.join(","))
    }
}

/// The origin in `item`: scheme, host and port, and nothing else.
fn origin(item: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("'{item}' is no origin: write scheme and host, such as https://crm.example.com");
    let uri: Uri = item.parse().map_err(|_error| wrong())?;
    let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(wrong)?;
    let is_usual_port = matches!((scheme, authority.port_u16()), ("https", Some(443)) | ("http", Some(80)));
    if is_usual_port {
        return Err(format!("'{item}' names the usual port of its scheme, which browsers leave out"));
    }
    let written = format!("{scheme}://{authority}");
    let is_origin = matches!(scheme, "http" | "https") && written == item && written == item.to_lowercase();
    if !is_origin || authority.as_str().contains(['@', '*']) {
        return Err(wrong());
    }
    HeaderValue::from_str(item).map_err(|_error| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact() {
        let list = "https://crm.example.com, http://localhost:3000";
        let origins = Origins::try_from(list.to_owned()).unwrap();
        assert_eq!(origins.to_string(), list.replace(' ', ""));
        for item in [
            "*",
            "null",
            "",
            "crm.example.com",
            "https://crm.example.com/",
            "https://crm.example.com/app",
            "https://CRM.example.com",
            "https://*.example.com",
            "https://user@crm.example.com",
            "https://crm.example.com:443",
            "http://localhost:80",
            "ftp://crm.example.com",
        ] {
            assert!(Origins::try_from(format!("https://a.example,{item}")).is_err(), "{item}");
        }
    }
}
