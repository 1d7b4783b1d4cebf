//! The environment of the gateway: one flat struct, complete and valid before a socket opens.
//!
//! Nothing else in the crate reads the environment.

mod monitor_urls;

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use aftercall_common::{
    http::tls::{self, Tls},
    process::{
        broker::Broker,
        config::{self, ConfigError, Secret, Url},
        telemetry::LogFormat,
        trace,
    },
};
use serde::{Deserialize, Deserializer, de::Error as _};
use subtle::ConstantTimeEq as _;

pub use self::monitor_urls::MonitorUrls;
use crate::admission::{policy::Policy, source_ip::Networks};

/// Everything an operator can set. Field names in upper case are the variables.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where webhooks are served.
    pub listen_addr: SocketAddr,
    /// Where health and metrics are served. Never the public address.
    pub admin_addr: SocketAddr,
    /// The broker, or several addresses of one cluster, comma separated.
    pub nats_url: Url,
    /// Credentials for the broker (`.creds`).
    pub nats_creds_file: Option<PathBuf>,
    /// Authorities that vouch for the broker (PEM). None: those of the system, where it speaks TLS.
    pub nats_ca_file: Option<PathBuf>,
    /// The broker's monitoring endpoints, which tell whether it syncs before it acknowledges. None: nobody tells.
    pub nats_monitor_url: Option<MonitorUrls>,
    /// Copies the broker keeps of each stream it makes. More on an existing stream are kept.
    pub stream_replicas: NonZeroUsize,
    /// Largest body of one request, in bytes.
    pub max_body_bytes: NonZeroUsize,
    /// Bytes of the provider's bodies held at one time, packed and unpacked. Other senders have small budgets of
    /// their own: see [`crate::admission::body::Budgets`].
    pub max_inflight_bytes: NonZeroUsize,
    /// Connections open at one time.
    pub max_connections: NonZeroUsize,
    /// Connections that one source may have open. Trusted proxies have no such limit.
    pub max_connections_per_source: NonZeroUsize,
    /// Whether connections from `TRUSTED_PROXIES` begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The certificate of the public listener, and those up to its authority's (PEM). None: no TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// Time a connection gets to complete a request's headers.
    #[serde(deserialize_with = "positive")]
    pub header_timeout: Duration,
    /// Time a request gets to deliver its body.
    #[serde(deserialize_with = "positive")]
    pub body_timeout: Duration,
    /// Time from a complete request to the broker's acknowledgement, waiting in line included.
    #[serde(deserialize_with = "positive")]
    pub publish_timeout: Duration,
    /// Folder where webhooks wait while the broker is away. None: they are refused with 503 then.
    pub spool_dir: Option<PathBuf>,
    /// Bytes of webhooks that may wait there.
    pub spool_max_bytes: NonZeroU64,
    /// Time the listener stays open after the stop signal, `/readyz` saying no: a load balancer needs so long
    /// to notice.
    #[serde(with = "humantime_serde")]
    pub shutdown_delay: Duration,
    /// Time accepted requests get to finish after that.
    #[serde(deserialize_with = "positive")]
    pub shutdown_grace: Duration,
    /// Collector of traces. None: nothing is traced.
    pub otel_exporter_otlp_endpoint: Option<trace::Endpoint>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written, in `tracing`'s filter language.
    pub rust_log: Option<String>,
    /// Who may send. Read by itself, as it can change while the gateway runs.
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
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(config::environment()?)
    }

    /// Reads and checks `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let vars: Vec<_> = vars.into_iter().collect();
        let read = config::from_vars::<Self>(vars.clone())?;
        if read.max_inflight_bytes < read.max_body_bytes {
            return Err(ConfigError::new("MAX_INFLIGHT_BYTES", "must be at least MAX_BODY_BYTES"));
        }
        read.broker().check()?;
        read.tls()?;
        let policy = Policy::from_vars(vars)?;
        if read.proxy_protocol && policy.trusted_proxies == Networks::default() {
            let reason = "must be set with PROXY_PROTOCOL: only these proxies are believed";
            return Err(ConfigError::new("TRUSTED_PROXIES", reason));
        }
        Ok(Self { policy, ..read })
    }

    /// The broker.
    pub fn broker(&self) -> Broker<'_> {
        let (credentials, authority) = (self.nats_creds_file.as_deref(), self.nats_ca_file.as_deref());
        Broker { url: &self.nats_url, credentials, authority }
    }

    /// TLS of the public listener, where it is wanted.
    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        match (&self.tls_cert_file, &self.tls_key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Tls::read(certificate, key).map(Some),
            (Some(_), None) => Err(ConfigError::new(tls::KEY, "must be set with TLS_CERT_FILE")),
            (None, Some(_)) => Err(ConfigError::new(tls::CERTIFICATE, "must be set with TLS_KEY_FILE")),
        }
    }
}

/// One `NAME=value` a line, unset ones left out; without the policy.
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

/// A comma list of secrets, so that one can be replaced by the next without a gap.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|secret| secret.expose().as_bytes())
    }

    /// Whether `given` is one of the secrets. The time taken does not tell which one.
    pub fn contain(&self, given: &[u8]) -> bool {
        self.iter().fold(false, |equal, secret| equal | bool::from(given.ct_eq(secret)))
    }
}

impl TryFrom<String> for Secrets {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        list.split(',')
            .enumerate()
            .map(|(n, item)| match item.trim() {
                "" => Err(format!("item {} of the list is empty", n + 1)),
                item => Ok(Secret::new(item)),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A duration with its unit (`10s`, `60m`), longer than nothing.
pub(crate) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration: Duration = humantime_serde::deserialize(deserializer)?;
    if duration.is_zero() { Err(D::Error::custom("must be longer than 0s")) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `vars` where signatures are not required, unless one of them says otherwise.
    fn read(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let unsigned = [("ALLOW_UNSIGNED", "true")];
        let vars = unsigned.iter().chain(vars);
        Config::from_vars(vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
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
            ("API_READ_TOKEN", ""),
            ("WEBHOOK_HEADER_SECRET", ""),
            ("WEBHOOK_HEADER_SECRET", "token"),
            ("PUBLIC_URL", "hooks.example.com"),
            ("MAX_BODY_BYTES", "0"),
            ("MAX_BODY_BYTES", "-1"),
            ("MAX_INFLIGHT_BYTES", "1000"),
            ("MAX_CONNECTIONS", "0"),
            ("MAX_CONNECTIONS_PER_SOURCE", "0"),
            ("PROXY_PROTOCOL", "v2"),
            ("HEADER_TIMEOUT", "soon"),
            ("BODY_TIMEOUT", "0s"),
            ("PUBLISH_TIMEOUT", "0ms"),
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
        let halves = [("TLS_CERT_FILE", "TLS_KEY_FILE"), ("TLS_KEY_FILE", "TLS_CERT_FILE")];
        for (set, missing) in halves {
            assert_eq!(read(&[(set, "/nowhere/at.all")]).unwrap_err().variable, missing);
        }
        let both = halves.map(|(name, _)| (name, "/nowhere/at.all"));
        assert_eq!(read(&both).unwrap_err().variable, "TLS_CERT_FILE");
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
    fn secrets_are_a_list_and_never_printed() {
        let config =
            read(&[("ELEVENLABS_WEBHOOK_SECRET", "wsec_a , wsec_b"), ("API_TOKEN", "t0ken")]).unwrap();
        assert_eq!(
            config.policy.elevenlabs_webhook_secret.iter().collect::<Vec<_>>(),
            [b"wsec_a", b"wsec_b"]
        );
        let shown = format!("{config} {config:?} {}", config.policy);
        assert!(!shown.contains("wsec_") && !shown.contains("t0ken"), "{shown}");
    }
}
