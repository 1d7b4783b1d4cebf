//! The variables that `cargo local` reads. Gateway and worker read their own variables.

use aftercall_common::process::config::{Secret, Url};
use serde::Deserialize;

/// Decides which parts `up` starts, and with which settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `NATS_URL`: an existing broker. Unset: `up` starts one.
    pub nats_url: Option<Url>,
    /// `MONGODB_URI`: an existing database. Unset: `up` starts one.
    pub mongodb_uri: Option<Url>,
    /// `ELEVENLABS_API_KEY`: key of the real API. Unset: `up` starts a simulated API.
    pub elevenlabs_api_key: Option<Secret>,
    /// `ELEVENLABS_BASE_URL`: base URL of the real API, if it is not the default one.
    pub elevenlabs_base_url: Option<String>,
    /// `ALLOWED_SOURCES` of the gateway. Unset: the value in [`crate::OPEN_GATEWAY`].
    pub allowed_sources: Option<String>,
    /// `ALLOW_UNSIGNED` of the gateway. Unset: the value in [`crate::OPEN_GATEWAY`].
    pub allow_unsigned: Option<String>,
    /// `API_ANONYMOUS` of the gateway. Unset: the value in [`crate::OPEN_GATEWAY`].
    pub api_anonymous: Option<String>,
    /// `TWILIO_AUTH_TOKEN`: key of the simulated Twilio's signatures. Unset: `up` generates one.
    pub twilio_auth_token: Option<Secret>,
    /// `PUBLIC_URL`: base URL that the simulated Twilio signs.
    pub public_url: Option<String>,
    /// `API_TOKEN` of the gateway. Unset: `up` generates one if it uses the real API, where calls cost money.
    pub api_token: Option<Secret>,
    /// `CONSOLE_TOKEN`: token of the console. Unset: `up` generates one.
    pub console_token: Option<Secret>,
    /// `PATH`: folders with programs.
    pub path: String,
}

impl Config {
    /// Reads the environment. An empty variable counts as unset.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(aftercall_common::process::config::from_env()?)
    }
}
