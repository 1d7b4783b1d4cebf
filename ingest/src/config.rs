//! The configuration of the gateway, read from environment variables.
//!
//! It is complete and valid before the gateway opens a socket. No other module reads the environment.

mod duration;
mod monitor_urls;
mod networks;
mod origins;
mod policy;
mod public_url;
mod secrets;
mod spool_mode;

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use aftercall_common::{
    contract::body_limit,
    http::tls::{self, Tls},
    process::{
        broker::Broker,
        config::{self, ConfigError, Url},
        telemetry::LogFormat,
        trace,
    },
};
use serde::Deserialize;

use self::duration::positive;
pub use self::{
    monitor_urls::MonitorUrls,
    networks::{ELEVENLABS_ADDRESSES, Sources},
    origins::Origins,
    policy::{Anonymous, Policy, SECRET_FILE, SourcePolicy, Tolerance},
    public_url::PublicUrl,
    secrets::{HeaderSecret, ProviderSecrets, Secrets},
    spool_mode::SpoolMode,
};

/// The settings of the gateway. The name of a variable is the name of its field, in upper case.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Config {
    /// Address of the public listener, which serves webhooks.
    pub listen_addr: SocketAddr,
    /// Address of the admin listener, which serves health and metrics. Never the public address.
    pub admin_addr: SocketAddr,
    /// Address of the broker, or several addresses of one cluster, comma-separated.
    pub nats_url: Url,
    /// File with the credentials for the broker (`.creds`).
    pub nats_creds_file: Option<PathBuf>,
    /// Certificates of the authorities that sign the broker's certificate (PEM). Unset: those of the system.
    pub nats_ca_file: Option<PathBuf>,
    /// The broker's monitoring endpoints. They show whether the broker syncs before it acknowledges. Unset:
    /// durability is reported as `unknown`.
    pub nats_monitor_url: Option<MonitorUrls>,
    /// Copies of each stream that the gateway creates. An existing stream with more copies keeps them.
    pub stream_replicas: NonZeroUsize,
    /// Largest body of one request, in bytes.
    pub max_body_bytes: NonZeroUsize,
    /// Bytes of providers' bodies in memory at one time, compressed and decompressed. Other senders have
    /// small budgets of their own, with fixed sizes.
    pub max_inflight_bytes: NonZeroUsize,
    /// Most open connections.
    pub max_connections: NonZeroUsize,
    /// Most open connections of one source address. Trusted proxies have no such limit.
    pub max_connections_per_source: NonZeroUsize,
    /// Whether connections from `TRUSTED_PROXIES` begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// The certificate chain of the public listener (PEM). Unset: no TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// Longest time until the headers of a request are complete.
    #[serde(deserialize_with = "positive")]
    pub header_timeout: Duration,
    /// Longest time until the body of a request is complete.
    #[serde(deserialize_with = "positive")]
    pub body_timeout: Duration,
    /// Longest time from a complete request to the broker's acknowledgement, including the time in the queue.
    #[serde(deserialize_with = "positive")]
    pub publish_timeout: Duration,
    /// Whether webhooks are written to `spool_dir` if the broker does not store them, or before they are published.
    pub spool: SpoolMode,
    /// Folder that holds webhooks while the broker is unavailable. Unset: the gateway then answers webhooks
    /// with 503.
    pub spool_dir: Option<PathBuf>,
    /// Most bytes of webhooks in that folder.
    pub spool_max_bytes: NonZeroU64,
    /// How long the listener stays open after the stop signal, with `/readyz` failing. A load balancer needs
    /// this time to notice. Afterwards open connections get the same time once more.
    #[serde(with = "humantime_serde")]
    pub shutdown_delay: Duration,
    /// Longest time for accepted requests to finish, after twice `shutdown_delay`.
    #[serde(deserialize_with = "positive")]
    pub shutdown_grace: Duration,
    /// Endpoint of the collector of traces. Unset: no traces.
    pub otel_exporter_otlp_endpoint: Option<trace::Endpoint>,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Filter of log lines, in the syntax of `tracing`.
    pub rust_log: Option<String>,
    /// Which requests are accepted. Read separately, because it can change while the gateway runs.
    #[serde(skip)]
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        let size = |bytes| NonZeroUsize::new(bytes).expect("a literal above zero");
        Self {
            listen_addr: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin_addr: SocketAddr::from(([127, 0, 0, 1], 9080)),
            nats_url: Url::new("nats://127.0.0.1:4222"),
            nats_creds_file: None,
            nats_ca_file: None,
            nats_monitor_url: None,
            stream_replicas: size(1),
            max_body_bytes: size(32 * MIB),
            max_inflight_bytes: size(256 * MIB),
            max_connections: size(16 * 1024),
            max_connections_per_source: size(1024),
            proxy_protocol: false,
            tls_cert_file: None,
            tls_key_file: None,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(5),
            spool: SpoolMode::default(),
            spool_dir: None,
            spool_max_bytes: NonZeroU64::new(1024 * MIB as u64).expect("a literal above zero"),
            shutdown_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(20),
            otel_exporter_otlp_endpoint: None,
            log_format: LogFormat::default(),
            rust_log: None,
            policy: Policy::default(),
        }
    }
}

impl Config {
    /// Reads and checks the environment.
    ///
    /// # Errors
    /// The variable that cannot be used, and the reason.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(config::environment()?)
    }

    /// Reads and checks `vars`.
    ///
    /// # Errors
    /// The variable that cannot be used, and the reason.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let vars: Vec<_> = vars.into_iter().collect();
        let read = config::from_vars::<Self>(vars.clone())?;
        if read.max_body_bytes.get() > body_limit::MAX_BYTES {
            let reason =
                format!("must be at most {}: the worker reads no larger body", body_limit::MAX_BYTES);
            return Err(ConfigError::new("MAX_BODY_BYTES", reason));
        }
        if read.max_inflight_bytes < read.max_body_bytes {
            return Err(ConfigError::new("MAX_INFLIGHT_BYTES", "must be at least MAX_BODY_BYTES"));
        }
        if read.spool == SpoolMode::First && read.spool_dir.is_none() {
            return Err(ConfigError::new("SPOOL_DIR", "must be set with SPOOL=first"));
        }
        read.broker().check()?;
        read.tls()?;
        let policy = Policy::from_vars(vars)?;
        if read.proxy_protocol && policy.trusted_proxies.is_empty() {
            let reason =
                "must be set with PROXY_PROTOCOL: the gateway reads the header only from these proxies";
            return Err(ConfigError::new("TRUSTED_PROXIES", reason));
        }
        Ok(Self { policy, ..read })
    }

    /// Address and credentials of the broker.
    pub fn broker(&self) -> Broker<'_> {
        let (credentials, authority) = (self.nats_creds_file.as_deref(), self.nats_ca_file.as_deref());
        Broker { url: &self.nats_url, credentials, authority }
    }

    /// Whether `next` has other settings than this configuration, apart from the policy. Such settings are
    /// read only at the start.
    pub fn needs_restart(&self, next: &Self) -> bool {
        Self { policy: self.policy.clone(), ..next.clone() } != *self
    }

    /// TLS of the public listener. `None`: the listener speaks plain HTTP.
    ///
    /// # Errors
    /// Only one of the two files is set, or a file cannot be used.
    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        match (&self.tls_cert_file, &self.tls_key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Tls::read(certificate, key).map(Some),
            (Some(_), None) => Err(ConfigError::new(tls::KEY, "must be set with TLS_CERT_FILE")),
            (None, Some(_)) => Err(ConfigError::new(tls::CERTIFICATE, "must be set with TLS_KEY_FILE")),
        }
    }
}

/// One line `NAME=value` for each setting that has a value, without the policy, `LOG_FORMAT` and `RUST_LOG`.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LISTEN_ADDR={}", self.listen_addr)?;
        writeln!(f, "ADMIN_ADDR={}", self.admin_addr)?;
        writeln!(f, "NATS_URL={}", self.nats_url)?;
        if let Some(file) = &self.nats_creds_file {
            writeln!(f, "NATS_CREDS_FILE={}", file.display())?;
        }
        if let Some(file) = &self.nats_ca_file {
            writeln!(f, "NATS_CA_FILE={}", file.display())?;
        }
        if let Some(urls) = &self.nats_monitor_url {
            writeln!(f, "NATS_MONITOR_URL={urls}")?;
        }
        writeln!(f, "STREAM_REPLICAS={}", self.stream_replicas)?;
        writeln!(f, "MAX_BODY_BYTES={}", self.max_body_bytes)?;
        writeln!(f, "MAX_INFLIGHT_BYTES={}", self.max_inflight_bytes)?;
        writeln!(f, "MAX_CONNECTIONS={}", self.max_connections)?;
        writeln!(f, "MAX_CONNECTIONS_PER_SOURCE={}", self.max_connections_per_source)?;
        if self.proxy_protocol {
            writeln!(f, "PROXY_PROTOCOL=true")?;
        }
        if let Some((certificate, key)) = self.tls_cert_file.as_ref().zip(self.tls_key_file.as_ref()) {
            writeln!(f, "TLS_CERT_FILE={}", certificate.display())?;
            writeln!(f, "TLS_KEY_FILE={}", key.display())?;
        }
        writeln!(f, "HEADER_TIMEOUT={:?}", self.header_timeout)?;
        writeln!(f, "BODY_TIMEOUT={:?}", self.body_timeout)?;
        writeln!(f, "PUBLISH_TIMEOUT={:?}", self.publish_timeout)?;
        if let Some(folder) = &self.spool_dir {
            writeln!(f, "SPOOL={}", self.spool.as_str())?;
            writeln!(f, "SPOOL_DIR={}", folder.display())?;
            writeln!(f, "SPOOL_MAX_BYTES={}", self.spool_max_bytes)?;
        }
        writeln!(f, "SHUTDOWN_DELAY={:?}", self.shutdown_delay)?;
        if let Some(endpoint) = &self.otel_exporter_otlp_endpoint {
            writeln!(f, "OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}")?;
        }
        write!(f, "SHUTDOWN_GRACE={:?}", self.shutdown_grace)
    }
}

#[cfg(test)]
mod tests {
    use aftercall_common::contract::provider::Provider;

    use super::*;

    /// Reads `vars`, with `ALLOW_UNSIGNED=true` unless they contain that variable.
    fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let unsigned = [("ALLOW_UNSIGNED", "true")];
        let vars = unsigned.iter().chain(vars);
        Config::from_vars(vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_follow_the_contract() {
        let config = read(&[]).unwrap();
        let shown = format!("{config}\n{}", config.policy);
        for line in [
            "LISTEN_ADDR=0.0.0.0:8080",
            "ADMIN_ADDR=127.0.0.1:9080",
            "ALLOWED_SOURCES=elevenlabs",
            "API_ANONYMOUS=none",
            "SOURCE_POLICY=enforce",
            "SIGNATURE_TOLERANCE=3600s",
            "MAX_BODY_BYTES=33554432",
            "MAX_INFLIGHT_BYTES=268435456",
            "PUBLISH_TIMEOUT=5s",
            "SHUTDOWN_GRACE=20s",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("LISTEN_ADDR", "8080"),
            ("ADMIN_ADDR", "localhost"),
            ("NATS_URL", "nats://host:notaport"),
            ("NATS_URL", "nats://a:t0ken@host,nats://b:t0ken@host"),
            ("NATS_CREDS_FILE", "/nowhere/at.all"),
            ("NATS_CA_FILE", "/nowhere/at.all"),
            ("NATS_MONITOR_URL", "https://broker:8222"),
            ("STREAM_REPLICAS", "0"),
            ("ALLOWED_SOURCES", "loopback,,10.0.0.0/8"),
            ("ALLOWED_SOURCES", "10.0.0.0/33"),
            ("TRUSTED_PROXIES", "loopback"),
            ("ELEVENLABS_WEBHOOK_SECRET", "one,,two"),
            ("SIGNATURE_TOLERANCE", "60"),
            ("SIGNATURE_MAX_AHEAD", "0s"),
            ("SOURCE_POLICY", "maybe"),
            ("API_ANONYMOUS", "yes"),
            ("ALLOW_UNSIGNED", "maybe"),
            ("EVENTS_TOKEN", "one,"),
            ("ELEVENLABS_WEBHOOK_SECRET", ""),
            ("TWILIO_AUTH_TOKEN", " "),
            ("TWILIO_AUTH_TOKEN", "one,,two"),
            ("API_READ_TOKEN", ""),
            ("WEBHOOK_HEADER_SECRET", ""),
            ("WEBHOOK_HEADER_SECRET", "token"),
            ("PUBLIC_URL", "hooks.example.com"),
            ("MAX_BODY_BYTES", "0"),
            ("MAX_BODY_BYTES", "-1"),
            ("MAX_BODY_BYTES", "134217729"),
            ("MAX_INFLIGHT_BYTES", "1000"),
            ("MAX_CONNECTIONS", "0"),
            ("MAX_CONNECTIONS_PER_SOURCE", "0"),
            ("PROXY_PROTOCOL", "v2"),
            ("HEADER_TIMEOUT", "soon"),
            ("BODY_TIMEOUT", "0s"),
            ("PUBLISH_TIMEOUT", "0ms"),
            ("SPOOL", "always"),
            ("SPOOL_MAX_BYTES", "0"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317"),
            ("SHUTDOWN_DELAY", "5"),
            ("SHUTDOWN_GRACE", "-5s"),
            ("LOG_FORMAT", "xml"),
        ] {
            let error = read(&[("API_TOKEN", "t0ken"), (name, value)]).expect_err(name);
            assert_eq!(error.variable, name, "{error}");
            assert!(!error.to_string().contains('\n') && !error.to_string().contains("t0ken"), "{error}");
        }
        assert_eq!(read(&[("MAX_BODY_BYTES", "134217728")]).unwrap().max_body_bytes.get(), 128 << 20);
        let halves = [("TLS_CERT_FILE", "TLS_KEY_FILE"), ("TLS_KEY_FILE", "TLS_CERT_FILE")];
        for (set, missing) in halves {
            assert_eq!(read(&[(set, "/nowhere/at.all")]).unwrap_err().variable, missing);
        }
        let both = halves.map(|(name, _)| (name, "/nowhere/at.all"));
        assert_eq!(read(&both).unwrap_err().variable, "TLS_CERT_FILE");
        assert_eq!(read(&[("SPOOL", "first")]).unwrap_err().variable, "SPOOL_DIR");
        assert_eq!(read(&[("SPOOL", "first"), ("SPOOL_DIR", "/tmp")]).unwrap().spool, SpoolMode::First);
        let unsigned = read(&[("TWILIO_AUTH_TOKEN", "t0ken")]).unwrap_err();
        assert_eq!(unsigned.variable, "PUBLIC_URL", "{unsigned}");
        let closed = read(&[("PUBLIC_URL", "https://hooks.example.com")]).unwrap_err();
        assert_eq!(closed.variable, "TWILIO_AUTH_TOKEN", "{closed}");
        assert_eq!(read(&[("PROXY_PROTOCOL", "true")]).unwrap_err().variable, "TRUSTED_PROXIES");
        assert!(read(&[("PROXY_PROTOCOL", "true"), ("TRUSTED_PROXIES", "10.0.0.1")]).unwrap().proxy_protocol);
        let error = read(&[("ALLOWED_SOURCES", "loopback, 10.0.0.0/33")]).unwrap_err();
        assert!(error.reason.contains("10.0.0.0/33"), "{error}");
    }

    #[test]
    fn every_setting_except_the_policy_needs_a_restart() {
        let login = |password: &str| format!("nats://gateway:{password}@broker:4222");
        let (old, new) = (login("one"), login("two"));
        let running = read(&[("NATS_URL", &old)]).unwrap();
        for (changed, expected) in [
            (("NATS_URL", old.as_str()), false),
            (("EVENTS_TOKEN", "t0ken"), false),
            (("LOG_FORMAT", "text"), true),
            (("RUST_LOG", "debug"), true),
            (("MAX_CONNECTIONS", "7"), true),
            (("NATS_URL", &new), true),
        ] {
            let others = [("NATS_URL", old.as_str())].into_iter().filter(|(name, _)| *name != changed.0);
            let next = read(&others.chain([changed]).collect::<Vec<_>>()).unwrap();
            assert_eq!(running.needs_restart(&next), expected, "{changed:?}");
        }
    }

    #[test]
    fn secrets_are_a_list_and_never_printed() {
        let config =
            read(&[("ELEVENLABS_WEBHOOK_SECRET", "wsec_a , wsec_b"), ("API_TOKEN", "t0ken")]).unwrap();
        assert_eq!(
            config.policy.secrets_of(Provider::ElevenLabs).iter().collect::<Vec<_>>(),
            [b"wsec_a", b"wsec_b"]
        );
        let shown = format!("{config} {config:?} {}", config.policy);
        assert!(!shown.contains("wsec_") && !shown.contains("t0ken"), "{shown}");
    }
}
