//! The settings of the worker, from environment variables. The name of a variable is the name of its field in
//! capitals.

mod check;
mod display;
mod elevenlabs;
mod roles;
mod user_header;
mod workspace;

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use aftercall_common::process::{
    broker::Broker,
    config::{self, ConfigError, Secret, Url},
    networks::Networks,
    telemetry::LogFormat,
    trace,
};
use serde::Deserialize;

use crate::domain::delivery::PrivateNetworks;

pub(crate) use self::elevenlabs::key_header;
pub use self::{
    elevenlabs::{BaseUrl, CallbackUrl, Recordings},
    roles::{Role, Roles},
    user_header::UserHeader,
    workspace::{AgentIds, EVENTS, Names, is_id},
};

/// The settings of the worker. `deploy/CONFIGURATION.md` lists them for operators.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a variable")]
pub struct Config {
    /// The address of NATS, or several addresses with commas.
    pub nats_url: Url,
    /// The file with the credentials for NATS.
    pub nats_creds_file: Option<PathBuf>,
    /// The file with the certificate authorities of NATS (PEM). Unset: the certificate authorities of the
    /// system.
    pub nats_ca_file: Option<PathBuf>,
    /// Replicas of each stream. A stream that has more replicas keeps them.
    pub stream_replicas: NonZeroUsize,
    /// The connection string of a MongoDB replica set.
    pub mongodb_uri: Url,
    /// The database with the collection `agent_calls`.
    pub mongodb_database: String,
    /// The key of the ElevenLabs API. Unset: transcripts are not fetched, and lookups return stored data
    /// only.
    pub elevenlabs_api_key: Option<Secret>,
    /// The URL of the API. Customers with data residency have a separate URL.
    pub elevenlabs_base_url: BaseUrl,
    /// Age from which a lookup asks ElevenLabs for the status of an unfinished call.
    #[serde(with = "humantime_serde")]
    pub status_stale_after: Duration,
    /// Time after which a transcript that ElevenLabs does not provide is given up.
    #[serde(with = "humantime_serde")]
    pub transcript_give_up_after: Duration,
    /// Where recordings come from.
    pub recordings: Recordings,
    /// Longest wait for the answer of ElevenLabs when it places a call.
    #[serde(with = "humantime_serde")]
    pub place_timeout: Duration,
    /// Time between two reconciliation passes.
    #[serde(with = "humantime_serde")]
    pub reconcile_every: Duration,
    /// Conversations that a reconciliation pass fetches per second.
    pub reconcile_rate: f64,
    /// The agents whose unknown conversations reconciliation adds. Unset: the agents whose webhook is ours.
    pub agents: Option<AgentIds>,
    /// The channels of unknown conversations that reconciliation adds. Unset: all.
    pub channels: Option<Names>,
    /// The public URL to which ElevenLabs sends its webhooks, including the path.
    pub elevenlabs_status_callback_url: Option<CallbackUrl>,
    /// The events that ElevenLabs is to send to this URL.
    pub elevenlabs_events: Names,
    /// Whether the worker registers the webhook at ElevenLabs at its start.
    pub register: bool,
    /// The file that gets the secret of a new webhook.
    pub secret_file: Option<PathBuf>,
    /// Days after which a call and its recording are erased from the database. Unset: never.
    pub retention_days: Option<NonZeroU32>,
    /// Whether events may be sent to private networks, and by `http`.
    pub deliver_to_private_networks: bool,
    /// The roles of this process.
    pub roles: Roles,
    /// The address of the listener for health and metrics.
    pub admin_addr: SocketAddr,
    /// The address of the console.
    pub console_addr: SocketAddr,
    /// The user name of the console's basic login.
    pub console_user: String,
    /// The password of the console's basic login.
    pub console_password: Option<Secret>,
    /// The console's token. Programs send it as a bearer token, people open a link with it.
    pub console_token: Option<Secret>,
    /// The header in which a reverse proxy names the user. Unset: people share a login.
    pub console_user_header: Option<UserHeader>,
    /// The proxies whose header is trusted.
    pub console_trusted_proxies: Networks,
    /// Whether the console shows complete telephone numbers.
    pub console_show_numbers: bool,
    /// Whether the console offers to place test calls. Meant for a simulated provider.
    pub console_test_calls: bool,
    /// Longest time for finishing work after a signal to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// The collector of traces. Unset: no traces.
    pub otel_exporter_otlp_endpoint: Option<trace::Endpoint>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The filter of log lines.
    pub rust_log: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nats_url: Url::new("nats://127.0.0.1:4222"),
            nats_creds_file: None,
            nats_ca_file: None,
            stream_replicas: NonZeroUsize::MIN,
            mongodb_uri: Url::new("mongodb://127.0.0.1:27017"),
            mongodb_database: "aftercall".to_owned(),
            elevenlabs_api_key: None,
            elevenlabs_base_url: BaseUrl::default(),
            status_stale_after: Duration::from_mins(1),
            transcript_give_up_after: Duration::from_hours(24),
            recordings: Recordings::default(),
            place_timeout: Duration::from_secs(45),
            reconcile_every: Duration::from_mins(10),
            reconcile_rate: 4.0,
            agents: None,
            channels: None,
            elevenlabs_status_callback_url: None,
            elevenlabs_events: Names::of_events(),
            register: false,
            secret_file: None,
            retention_days: None,
            deliver_to_private_networks: false,
            roles: Roles::default(),
            admin_addr: SocketAddr::from(([127, 0, 0, 1], 9081)),
            console_addr: SocketAddr::from(([127, 0, 0, 1], 9082)),
            console_user: "operator".to_owned(),
            console_password: None,
            console_token: None,
            console_user_header: None,
            console_trusted_proxies: Networks::default(),
            console_show_numbers: false,
            console_test_calls: false,
            shutdown_grace: Duration::from_secs(20),
            otel_exporter_otlp_endpoint: None,
            log_format: LogFormat::Json,
            rust_log: None,
        }
    }
}

impl Config {
    /// Reads and checks the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(config::environment()?)
    }

    /// Reads and checks `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        config::from_vars::<Self>(vars)?.checked()
    }

    /// The address, the credentials and the certificate authorities of the broker.
    pub fn broker(&self) -> Broker<'_> {
        let (credentials, authority) = (self.nats_creds_file.as_deref(), self.nats_ca_file.as_deref());
        Broker { url: &self.nats_url, credentials, authority }
    }

    /// The networks that events may be sent to.
    pub fn private_networks(&self) -> PrivateNetworks {
        if self.deliver_to_private_networks { PrivateNetworks::Allowed } else { PrivateNetworks::Refused }
    }

    /// How long calls are kept. `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        self.retention_days.map(|days| Duration::from_hours(24) * days.get())
    }
}

#[cfg(test)]
mod tests;
