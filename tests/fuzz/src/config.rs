//! The environment of gateway and worker.
//!
//! Input: a file of variables, as `ENV_FILE` names one. A `$` in a secret, or in the credentials of a
//! URL, becomes a word that must never be seen, and a `^` a line feed, which only the environment of a
//! process can hold.

use aftercall_common::process::config::{ConfigError, read_file};
use sha2::{Digest as _, Sha256};

const SECRETS: [&str; 9] = [
    "API_READ_TOKEN",
    "API_TOKEN",
    "CONSOLE_PASSWORD",
    "CONSOLE_TOKEN",
    "ELEVENLABS_API_KEY",
    "ELEVENLABS_WEBHOOK_SECRET",
    "EVENTS_TOKEN",
    "TWILIO_AUTH_TOKEN",
    "WEBHOOK_HEADER_SECRET",
];
const URLS: [&str; 3] = ["ELEVENLABS_BASE_URL", "ELEVENLABS_STATUS_CALLBACK_URL", "PUBLIC_URL"];
const SERVERS: [&str; 2] = ["MONGODB_URI", "NATS_URL"];
const OTHERS: [&str; 44] = [
    "ADMIN_ADDR",
    "ALLOW_UNSIGNED",
    "ALLOWED_SOURCES",
    "API_ANONYMOUS",
    "BODY_TIMEOUT",
    "CONSOLE_ADDR",
    "CONSOLE_SHOW_NUMBERS",
    "CONSOLE_TEST_CALLS",
    "CONSOLE_USER",
    "HEADER_TIMEOUT",
    "LISTEN_ADDR",
    "LOG_FORMAT",
    "MAX_BODY_BYTES",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_SOURCE",
    "MAX_INFLIGHT_BYTES",
    "MONGODB_DATABASE",
    "NATS_CA_FILE",
    "NATS_CREDS_FILE",
    "NATS_MONITOR_URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "PLACE_TIMEOUT",
    "PROXY_PROTOCOL",
    "PUBLISH_TIMEOUT",
    "RECONCILE_EVERY",
    "RECONCILE_RATE",
    "RETENTION_DAYS",
    "ROLES",
    "RUST_LOG",
    "SHUTDOWN_DELAY",
    "SHUTDOWN_GRACE",
    "SIGNATURE_MAX_AHEAD",
    "SIGNATURE_TOLERANCE",
    "SOURCE_POLICY",
    "SPOOL_DIR",
    "SPOOL_MAX_BYTES",
    "STATUS_STALE_AFTER",
    "STREAM_REPLICAS",
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "TRANSCRIPT_GIVE_UP_AFTER",
    "TRUSTED_PROXIES",
    "ENV_FILE",
    // Of no variable in particular: one name given twice, in different case.
    "environment",
];

/// A configuration is right, or one line names the variable that is not; and no text holds a secret.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // A secret that depends on the whole input cannot be in the input already.
    let secret = &hex::encode(Sha256::digest(data))[..16];
    let vars: Vec<_> = match read_file(&text) {
        Ok(vars) => vars.into_iter().map(|(name, value)| prepared(name, &value, secret)).collect(),
        Err(error) => return names_a_variable(&error, secret),
    };
    match aftercall_ingest::Config::from_vars(vars.clone()) {
        Ok(config) => is_discreet(&format!("{config}\n{config:?}\n{}", config.policy), secret),
        Err(error) => names_a_variable(&error, secret),
    }
    match aftercall_worker::Config::from_vars(vars) {
        Ok(config) => is_discreet(&format!("{config:#?}"), secret),
        Err(error) => names_a_variable(&error, secret),
    }
}

/// Puts the secret in, and keeps away from the files of this machine.
fn prepared(name: String, value: &str, secret: &str) -> (String, String) {
    let upper = name.to_ascii_uppercase();
    let value = &value.replace('^', "\n");
    let value = if upper == "MONGODB_URI" && value.to_ascii_lowercase().contains("tlscafile") {
        format!("mongodb://u:{secret}@h/?tlsCAFile=/nowhere/at.all")
    } else if upper == "WEBHOOK_HEADER_SECRET" && value.contains(':') {
        let (name, hidden) = value.split_at(value.find(':').unwrap_or(0)); // The name is none.
        format!("{name}{}", hidden.replace('$', secret))
    } else if SECRETS.contains(&&*upper) {
        value.replace('$', secret)
    } else if SERVERS.contains(&&*upper) {
        // A comma list of servers, so credentials end at the last '@' of all.
        let start = value.find("://").map_or(0, |at| at + "://".len());
        with_credentials(value, secret, start, value.len())
    } else if URLS.contains(&&*upper) {
        let start = value.find(':').map_or(0, |colon| colon + 1);
        let host = value[start..].trim_start_matches(['/', '\\', '\t', '\r', '\n']);
        let start = value.len() - host.len();
        with_credentials(value, secret, start, start + host.find(['/', '\\', '?', '#']).unwrap_or(host.len()))
    } else if upper.ends_with("_FILE") && upper != "ENV_FILE" {
        "/nowhere/at.all".to_owned()
    } else {
        value.to_owned()
    };
    (name, value)
}

/// Puts the secret into what stands before the last '@' from `start` to `end`.
fn with_credentials(value: &str, secret: &str, start: usize, end: usize) -> String {
    let credentials = value[start..end].rfind('@').map_or("", |at| &value[start..start + at]);
    let (before, rest) = (&value[..start], &value[start + credentials.len()..]);
    format!("{before}{}{rest}", credentials.replace('$', secret))
}

fn names_a_variable(error: &ConfigError, secret: &str) {
    let known = [&SECRETS[..], &SERVERS, &URLS, &OTHERS].concat();
    assert!(known.contains(&&*error.variable), "{error}");
    assert!(!error.reason.trim().is_empty(), "{error}");
    assert!(!error.to_string().contains(char::is_control), "not one line: {error}");
    is_discreet(&error.to_string(), secret);
}

fn is_discreet(text: &str, secret: &str) {
    assert!(!text.to_ascii_lowercase().contains(secret), "a secret is shown: {text}");
}
