//! The worker's environment.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use aftercall_common::{
    http::tls,
    process::{
        broker::Broker,
        config::{self, ConfigError, Secret, Url},
        telemetry::LogFormat,
        trace,
    },
};
use mongodb::options::{ConnectionString, Tls as MongoTls};
use serde::Deserialize;

use crate::elevenlabs::key_header;

/// Everything the worker reads from its environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where NATS is; several addresses comma separated.
    pub nats_url: Url,
    /// Credentials for it.
    pub nats_creds_file: Option<PathBuf>,
    /// Authorities that vouch for it (PEM). None: those of the system, where it speaks TLS.
    pub nats_ca_file: Option<PathBuf>,
    /// Copies the broker keeps of each stream. Streams that have more keep them.
    pub stream_replicas: NonZeroUsize,
    /// A replica set.
    pub mongodb_uri: Url,
    /// Database that holds `agent_calls`.
    pub mongodb_database: String,
    /// Key for the ElevenLabs API. Without it transcripts stay owed and lookups answer what is stored.
    pub elevenlabs_api_key: Option<Secret>,
    /// Where the API is; residency customers have their own.
    pub elevenlabs_base_url: BaseUrl,
    /// Age from which the status of an unfinished call is asked of ElevenLabs again.
    #[serde(with = "humantime_serde")]
    pub status_stale_after: Duration,
    /// How long a transcript is waited for.
    #[serde(with = "humantime_serde")]
    pub transcript_give_up_after: Duration,
    /// How long ElevenLabs is waited for when it places a call.
    #[serde(with = "humantime_serde")]
    pub place_timeout: Duration,
    /// Pause between two reconciliations.
    #[serde(with = "humantime_serde")]
    pub reconcile_every: Duration,
    /// Conversations it asks for per second.
    pub reconcile_rate: f64,
    /// Where ElevenLabs is to send its webhooks: our public URL, path included.
    pub elevenlabs_status_callback_url: Option<CallbackUrl>,
    /// Days after which a call and its recording are erased from the database. None: never.
    pub retention_days: Option<NonZeroU32>,
    /// What this process does.
    pub roles: Roles,
    /// Health and metrics.
    pub admin_addr: SocketAddr,
    /// The console, for people. It always wants a login.
    pub console_addr: SocketAddr,
    /// Name of its basic login.
    pub console_user: String,
    /// Password of its basic login.
    pub console_password: Option<Secret>,
    /// Its token: for programs as a bearer token, for people in a link.
    pub console_token: Option<Secret>,
    /// Whether it shows telephone numbers whole.
    pub console_show_numbers: bool,
    /// Whether it offers to place test calls: for a simulated provider.
    pub console_test_calls: bool,
    /// Time to finish what was begun, once stopped.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Collector of traces. None: nothing is traced.
    pub otel_exporter_otlp_endpoint: Option<trace::Endpoint>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
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
            elevenlabs_base_url: BaseUrl("https://api.elevenlabs.io".to_owned()),
            status_stale_after: Duration::from_mins(1),
            transcript_give_up_after: Duration::from_hours(24),
            place_timeout: Duration::from_secs(45),
            reconcile_every: Duration::from_mins(10),
            reconcile_rate: 4.0,
            elevenlabs_status_callback_url: None,
            retention_days: None,
            roles: Roles(vec![Role::Status, Role::Transcripts, Role::Api, Role::Reconcile]),
            admin_addr: SocketAddr::from(([127, 0, 0, 1], 9081)),
            console_addr: SocketAddr::from(([127, 0, 0, 1], 9082)),
            console_user: "operator".to_owned(),
            console_password: None,
            console_token: None,
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

    /// The broker.
    pub fn broker(&self) -> Broker<'_> {
        let (credentials, authority) = (self.nats_creds_file.as_deref(), self.nats_ca_file.as_deref());
        Broker { url: &self.nats_url, credentials, authority }
    }

    /// How long calls are kept. None: for ever.
    pub fn retention(&self) -> Option<Duration> {
        self.retention_days.map(|days| Duration::from_hours(24) * days.get())
    }

    /// What only the clients of broker and database can tell of a value.
    fn checked(self) -> Result<Self, ConfigError> {
        self.broker().check()?;
        // The driver panics at a `%` before a character of several bytes (3.9.1).
        if !self.mongodb_uri.expose().is_ascii() {
            return Err(ConfigError::new("MONGODB_URI", "what is not ASCII in it must be percent-encoded"));
        }
        let database = ConnectionString::parse(self.mongodb_uri.expose()).map_err(|_error| {
            // The driver's own error may repeat credentials.
            let reason = format!("not a MongoDB connection string: {}", self.mongodb_uri);
            ConfigError::new("MONGODB_URI", reason)
        })?;
        if let Some(MongoTls::Enabled(tls)) = database.tls {
            // The driver passes over what it cannot read in it, and trusts nobody then.
            let read = tls.ca_file_path.as_deref().map(tls::authorities).transpose();
            read.map_err(|reason| {
                ConfigError::new("MONGODB_URI", format!("the file of tlsCAFile {reason}"))
            })?;
        }
        if !is_database_name(&self.mongodb_database) {
            let reason = "must be 1 to 63 characters, none of them / \\ . \" $ * < > : | ? or a space";
            return Err(ConfigError::new("MONGODB_DATABASE", reason));
        }
        if self.elevenlabs_api_key.as_ref().is_some_and(|key| key_header(key).is_err()) {
            let reason = "holds characters that cannot be sent in a header";
            return Err(ConfigError::new("ELEVENLABS_API_KEY", reason));
        }
        if !(self.reconcile_rate > 0.0 && self.reconcile_rate <= 100.0) {
            return Err(ConfigError::new("RECONCILE_RATE", "must be above 0 and at most 100"));
        }
        let waits = [("PLACE_TIMEOUT", self.place_timeout), ("RECONCILE_EVERY", self.reconcile_every)];
        if let Some((name, _)) = waits.into_iter().find(|(_, wait)| wait.is_zero()) {
            return Err(ConfigError::new(name, "must be longer than 0s"));
        }
        self.check_console()?;
        Ok(self)
    }

    fn check_console(&self) -> Result<(), ConfigError> {
        if self.console_user.contains(|c: char| c == ':' || c.is_control()) {
            return Err(ConfigError::new("CONSOLE_USER", "must hold no colon, which ends it in a login"));
        }
        let secrets = [("CONSOLE_PASSWORD", &self.console_password), ("CONSOLE_TOKEN", &self.console_token)];
        for (name, secret) in secrets {
            let Some(secret) = secret else { continue };
            let fits = |c: char| c.is_ascii_graphic() || (c == ' ' && name == "CONSOLE_PASSWORD");
            if secret.expose().len() < CONSOLE_SECRET_MIN || !secret.expose().chars().all(fits) {
                let reason = format!("must be at least {CONSOLE_SECRET_MIN} visible ASCII characters");
                return Err(ConfigError::new(name, reason));
            }
        }
        if self.roles.has(Role::Console) && self.console_password.is_none() && self.console_token.is_none() {
            let reason = "the role console always wants a login: set CONSOLE_TOKEN or CONSOLE_PASSWORD";
            return Err(ConfigError::new("CONSOLE_TOKEN", reason));
        }
        Ok(())
    }
}

/// Shortest password and token of the console: it may be reached from anywhere.
const CONSOLE_SECRET_MIN: usize = 12;

/// The rules of MongoDB for names of databases.
fn is_database_name(name: &str) -> bool {
    (1..64).contains(&name.len()) && !name.contains(|c: char| c.is_control() || r#"/\. "$*<>:|?"#.contains(c))
}

/// One of the worker's jobs. Each scales by itself: start more processes with that role alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Turns webhooks into the state of calls.
    Status,
    /// Fetches transcripts.
    Transcripts,
    /// Answers requests about calls.
    Api,
    /// Makes up for webhooks that never came, and looks after their registration.
    Reconcile,
    /// Shows calls to people.
    Console,
}

/// A comma list of roles, not empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Roles(Vec<Role>);

impl Roles {
    /// Whether `role` is among them.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let roles = list.split(',').map(|name| match name.trim() {
            "status" => Ok(Role::Status),
            "transcripts" => Ok(Role::Transcripts),
            "api" => Ok(Role::Api),
            "reconcile" => Ok(Role::Reconcile),
            "console" => Ok(Role::Console),
            other => Err(format!(
                "{other:?} is not a role; they are status, transcripts, api, reconcile and console"
            )),
        });
        roles.collect::<Result<_, _>>().map(Self)
    }
}

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

/// Such URLs are printed as they are, to the log and by commands.
fn holds_credentials(url: &reqwest::Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Where webhooks are sent: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CallbackUrl(String);

impl CallbackUrl {
    /// The URL as text, as it was given.
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
            return Err("must hold no credentials; `register --header` sends a secret".to_owned());
        }
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() == "https" || (url.scheme() == "http" && here) {
            return Ok(Self(text.to_owned()));
        }
        Err("must be an https URL: it is called from outside".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Config, String> {
        Config::from_vars([(name.to_owned(), value.to_owned())]).map_err(|error| error.to_string())
    }

    #[test]
    fn every_variable_is_read() {
        assert_eq!(read("STATUS_STALE_AFTER", "90s").unwrap().status_stale_after, Duration::from_secs(90));
        assert_eq!(read("ROLES", " api , status").unwrap().roles, Roles(vec![Role::Api, Role::Status]));
        let base = read("ELEVENLABS_BASE_URL", "https://api.eu.residency.elevenlabs.io/").unwrap();
        assert_eq!(base.elevenlabs_base_url.as_str(), "https://api.eu.residency.elevenlabs.io");
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("ROLES", "status,sales"),
            ("ELEVENLABS_BASE_URL", "ftp://x"),
            ("TRANSCRIPT_GIVE_UP_AFTER", "soon"),
            ("ADMIN_ADDR", "9081"),
            ("PLACE_TIMEOUT", "0s"),
            ("RECONCILE_EVERY", "often"),
            ("RECONCILE_RATE", "0"),
            ("ELEVENLABS_STATUS_CALLBACK_URL", "http://hooks.example.com"),
            ("STREAM_REPLICAS", "many"),
            ("STREAM_REPLICAS", "0"),
            ("RETENTION_DAYS", "0"),
            ("ELEVENLABS_BASE_URL", "https://me:pa55@host"),
            ("ELEVENLABS_STATUS_CALLBACK_URL", "https://me:pa55@hooks.example.com"),
            ("ELEVENLABS_API_KEY", "sk_\u{7}"),
            ("CONSOLE_ADDR", "9082"),
            ("CONSOLE_USER", "a:b"),
            ("CONSOLE_PASSWORD", "pa55"),
            ("CONSOLE_TOKEN", "pa55 word with spaces"),
            ("CONSOLE_SHOW_NUMBERS", "perhaps"),
            ("NATS_URL", "ws://me:pa55@host"),
            ("NATS_CREDS_FILE", "/nowhere/at.all"),
            ("NATS_CA_FILE", "/nowhere/at.all"),
            ("MONGODB_DATABASE", "a.b"),
            ("MONGODB_URI", "postgres://me:pa55@host"),
            ("MONGODB_URI", "mongodb://me:pa55%\u{fffd}@host/"),
            ("MONGODB_URI", "mongodb://me:pa55@host/?tls=true&tlsCAFile=/nowhere/at.all"),
        ] {
            let error = read(name, value).unwrap_err();
            assert!(!error.contains("pa55"), "{error}");
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }

    #[test]
    fn a_console_needs_a_login_wherever_it_listens() {
        let read = |vars: &[(&str, &str)]| {
            Config::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        let role = ("ROLES", "status,console");
        for address in ["0.0.0.0:9082", "127.0.0.1:9082", "[::1]:9082"] {
            let open = ("CONSOLE_ADDR", address);
            for login in ["", " "] {
                let error = read(&[open, role, ("CONSOLE_TOKEN", login)]).unwrap_err().to_string();
                assert!(error.contains("CONSOLE_TOKEN") && error.contains("CONSOLE_PASSWORD"), "{error}");
            }
            assert!(read(&[open]).is_ok(), "nothing listens there without the role");
            assert!(read(&[open, role, ("CONSOLE_PASSWORD", "correct horse")]).is_ok());
            assert!(read(&[open, role, ("CONSOLE_TOKEN", "0123456789ab")]).is_ok());
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let config = read("ELEVENLABS_API_KEY", "sk_secret").unwrap();
        assert!(!format!("{config:?}").contains("sk_secret"));
        assert!(!format!("{:?}", read("MONGODB_URI", "mongodb://u:pw@h/").unwrap()).contains("pw"));
    }
}
