//! The value of `NATS_MONITOR_URL`.

use std::fmt;

use aftercall_common::http::client;
use hyper::Uri;
use serde::Deserialize;

/// The monitoring endpoints of the broker's servers: `http://host:8222`, comma separated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MonitorUrls(Vec<Uri>);

impl MonitorUrls {
    /// Whether no endpoint is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The endpoints, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Uri> {
        self.0.iter()
    }
}

impl TryFrom<String> for MonitorUrls {
    type Error = String;

    /// Fails if a URL is not plain HTTP, or if it contains credentials, which logs would then show.
    fn try_from(list: String) -> Result<Self, String> {
        let urls = list.split(',').map(|url| {
            let url = url.trim().trim_end_matches('/');
            let plain = url.parse::<Uri>().ok().filter(|url| client::address(url).is_ok());
            let plain = plain.filter(|url| !url.authority().is_some_and(|host| host.as_str().contains('@')));
            plain.ok_or_else(|| {
                "must be a URL like http://host:8222, or several such URLs separated by commas".to_owned()
            })
        });
        urls.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for MonitorUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_without_credentials_are_accepted() {
        let read = |list: &str| MonitorUrls::try_from(list.to_owned());
        assert_eq!(
            read("http://a:8222, http://b:8222/").unwrap().to_string(),
            "http://a:8222/,http://b:8222/"
        );
        for wrong in ["https://a:8222", "a:8222", "http://a:8222,,http://b", "http://me:s3cret@a:8222"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("http://host:8222") && !error.contains("s3cret"), "{error}");
        }
    }
}
