//! The content of `running.json`, by which `send` finds the processes that `up` has started.

use serde::{Deserialize, Serialize};

/// The addresses of all processes that `up` has started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Process id of `up` itself.
    pub pid: u32,
    /// Base URL of the gateway.
    pub public_url: String,
    /// Base URL of the gateway's health and metrics.
    pub gateway_admin_url: String,
    /// Base URL of each worker's health and metrics.
    pub worker_admin_urls: Vec<String>,
    /// Base URL of the console.
    pub console_url: String,
    /// Token of the console.
    #[serde(default)]
    pub console_token: String,
    /// URL of the broker.
    pub nats_url: String,
    /// URL of the broker's monitoring endpoint. `None` if `NATS_URL` names a broker.
    #[serde(default)]
    pub nats_monitor_url: Option<String>,
    /// URI of the database server.
    pub mongodb_uri: String,
    /// Name of the database.
    pub mongodb_database: String,
    /// Base URL of the simulated ElevenLabs API. `None` if the real one is used.
    pub simulator_url: Option<String>,
    /// Token that places calls. `None` unless `up` generated one.
    #[serde(default)]
    pub api_token: Option<String>,
}

impl Running {
    /// The link by which a browser logs in to the console.
    pub fn console_link(&self) -> String {
        let token = form_urlencoded::byte_serialize(self.console_token.as_bytes()).collect::<String>();
        format!("{}/?token={token}", self.console_url)
    }
}
