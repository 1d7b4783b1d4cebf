//! Prints the configuration for operators.

use std::fmt;

use super::Config;

/// One line `NAME=value` for each setting that has a value, without `LOG_FORMAT` and `RUST_LOG`. Secrets print as
/// `***`.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.connections().into_iter().chain(self.work()).chain(self.listeners());
        let mut lines = settings.filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        f.write_str(&lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// A variable and its printed value. `None`: the variable has no value.
type Setting = (&'static str, Option<String>);

/// The printed value of a secret.
fn hidden<T>(secret: Option<&T>) -> Option<String> {
    secret.map(|_| "***".to_owned())
}

impl Config {
    /// Broker, database, provider and collector of traces.
    fn connections(&self) -> Vec<Setting> {
        let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let callback = self.elevenlabs_status_callback_url.as_ref();
        vec![
            ("NATS_URL", Some(self.nats_url.to_string())),
            ("NATS_CREDS_FILE", path(&self.nats_creds_file)),
            ("NATS_CA_FILE", path(&self.nats_ca_file)),
            ("STREAM_REPLICAS", Some(self.stream_replicas.to_string())),
            ("MONGODB_URI", Some(self.mongodb_uri.to_string())),
            ("MONGODB_DATABASE", Some(self.mongodb_database.clone())),
            ("ELEVENLABS_API_KEY", hidden(self.elevenlabs_api_key.as_ref())),
            ("ELEVENLABS_BASE_URL", Some(self.elevenlabs_base_url.as_str().to_owned())),
            ("ELEVENLABS_STATUS_CALLBACK_URL", callback.map(|url| url.as_str().to_owned())),
            ("ELEVENLABS_EVENTS", Some(self.elevenlabs_events.names().join(","))),
            ("REGISTER", Some(self.register.to_string())),
            ("SECRET_FILE", path(&self.secret_file)),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                self.otel_exporter_otlp_endpoint.as_ref().map(ToString::to_string),
            ),
        ]
    }

    /// What the process does, and its times.
    fn work(&self) -> Vec<Setting> {
        vec![
            ("ROLES", Some(self.roles.to_string())),
            ("STATUS_STALE_AFTER", Some(format!("{:?}", self.status_stale_after))),
            ("TRANSCRIPT_GIVE_UP_AFTER", Some(format!("{:?}", self.transcript_give_up_after))),
            ("PLACE_TIMEOUT", Some(format!("{:?}", self.place_timeout))),
            ("RECORDINGS", Some(self.recordings.as_str().to_owned())),
            ("RECONCILE_EVERY", Some(format!("{:?}", self.reconcile_every))),
            ("AGENTS", self.agents.as_ref().map(|agents| agents.ids().join(","))),
            ("CHANNELS", self.channels.as_ref().map(|channels| channels.names().join(","))),
            ("RECONCILE_RATE", Some(self.reconcile_rate.to_string())),
            ("RETENTION_DAYS", self.retention_days.map(|days| days.to_string())),
            ("DELIVER_TO_PRIVATE_NETWORKS", Some(self.deliver_to_private_networks.to_string())),
            ("SHUTDOWN_GRACE", Some(format!("{:?}", self.shutdown_grace))),
        ]
    }

    /// Admin listener and console.
    fn listeners(&self) -> Vec<Setting> {
        vec![
            ("ADMIN_ADDR", Some(self.admin_addr.to_string())),
            ("CONSOLE_ADDR", Some(self.console_addr.to_string())),
            ("CONSOLE_USER", Some(self.console_user.clone())),
            ("CONSOLE_PASSWORD", hidden(self.console_password.as_ref())),
            ("CONSOLE_TOKEN", hidden(self.console_token.as_ref())),
            ("CONSOLE_USER_HEADER", self.console_user_header.as_ref().map(ToString::to_string)),
            ("CONSOLE_TRUSTED_PROXIES", Some(self.console_trusted_proxies.to_string())),
            ("CONSOLE_SHOW_NUMBERS", Some(self.console_show_numbers.to_string())),
            ("CONSOLE_TEST_CALLS", Some(self.console_test_calls.to_string())),
        ]
    }
}
