//! The variables `cargo local` itself looks at. Gateway and worker read theirs themselves.

use aftercall_common::process::config::{Secret, Url};
use serde::Deserialize;

/// What decides which parts are started, and from where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `NATS_URL`: use this broker, start none.
    pub nats_url: Option<Url>,
    /// `MONGODB_URI`: use this database, start none.
    pub mongodb_uri: Option<Url>,
    /// `ELEVENLABS_API_KEY`: use the real API, start no simulated one.
    pub elevenlabs_api_key: Option<Secret>,
    /// `ELEVENLABS_BASE_URL`: where the real API is, if not at its usual place.
    pub elevenlabs_base_url: Option<String>,
    /// `ALLOWED_SOURCES`, `ALLOW_UNSIGNED`, `API_ANONYMOUS`: where set, the gateway's own; see
    /// [`crate::OPEN_GATEWAY`].
    pub allowed_sources: Option<String>,
    /// As above.
    pub allow_unsigned: Option<String>,
    /// As above.
    pub api_anonymous: Option<String>,
    /// `TWILIO_AUTH_TOKEN`, `PUBLIC_URL`: what the simulated Twilio signs with, and the URL that it signs; made
    /// where the former is unset.
    pub twilio_auth_token: Option<Secret>,
    /// As above.
    pub public_url: Option<String>,
    /// `API_TOKEN`: the gateway's own; generated where calls cost money and it is unset.
    pub api_token: Option<Secret>,
    /// `CONSOLE_TOKEN`: the console's token, if not one that is made here.
    pub console_token: Option<Secret>,
    /// `PATH`: where programs are.
    pub path: String,
}

impl Config {
    /// Reads the environment; empty variables count as unset.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(aftercall_common::process::config::from_env()?)
    }
}
