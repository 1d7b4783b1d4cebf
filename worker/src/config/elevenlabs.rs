//! The variables `ELEVENLABS_*`: the key and the URLs.

use aftercall_common::process::config::Secret;
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use serde::Deserialize;

/// An `http` or `https` URL without a trailing slash, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        Self("https://api.elevenlabs.io".to_owned())
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = reqwest::Url::parse(text.trim()).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err("must be an http or https URL without query".to_owned());
        }
        if holds_credentials(&url) {
            return Err("must hold no credentials; the key is ELEVENLABS_API_KEY".to_owned());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

/// Where recordings come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recordings {
    /// From webhooks alone.
    #[default]
    Webhook,
    /// From webhooks, or else from ElevenLabs' API.
    Fetch,
}

impl Recordings {
    /// The word of the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Fetch => "fetch",
        }
    }
}

/// Whether `url` holds a user name or a password. Logs and commands print these URLs, so they must hold none.
fn holds_credentials(url: &reqwest::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The URL to which ElevenLabs sends webhooks: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CallbackUrl(String);

impl CallbackUrl {
    /// The URL as text, as it was set.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CallbackUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
        if holds_credentials(&url) {
            return Err("must hold no credentials; `register --header` sets a secret header".to_owned());
        }
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() == "https" || (url.scheme() == "http" && is_local) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be an https URL, because ElevenLabs calls it from outside".to_owned())
    }
}

/// The value of the header that carries the API key. A key from a file often ends in a line feed, which is
/// not part of the key.
///
/// # Errors
/// The key holds characters that a header cannot carry.
pub(crate) fn key_header(key: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_str(key.expose().trim())
}
