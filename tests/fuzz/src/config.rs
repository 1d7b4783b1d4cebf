//! The configuration of gateway and worker.
//!
//! Input: a file of variables, as for `ENV_FILE`. It is read as YAML if it begins with `---`. In secrets and in
//! credentials of URLs, `$` is replaced by a secret that must not be shown. `^` is replaced by a line feed,
//! which the environment of a process can contain, but not the file.

use aftercall_common::process::config::{ConfigError, read_file, read_yaml};
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
/// The reference of all settings.
const REFERENCE: &str = include_str!("../../../deploy/CONFIGURATION.md");
/// The name in errors that concern several variables, such as one name in two spellings.
const SEVERAL: &str = "environment";

/// Checks that a configuration is valid or that the error names a variable in one line, and that no text
/// contains the secret.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // The secret is a hash of the whole input, so that the input cannot contain it.
    let secret = &hex::encode(Sha256::digest(data))[..16];
    let read = if text.starts_with("---") { read_yaml(&text) } else { read_file(&text) };
    let vars: Vec<_> = match read {
        Ok(vars) => vars.into_iter().map(|(name, value)| prepared(name, &value, secret)).collect(),
        Err(error) => return names_a_variable(&error, secret),
    };
    match aftercall_ingest::Config::from_vars(vars.clone()) {
        Ok(config) => has_no_secret(&format!("{config}\n{config:?}\n{}", config.policy), secret),
        Err(error) => names_a_variable(&error, secret),
    }
    match aftercall_worker::Config::from_vars(vars) {
        Ok(config) => has_no_secret(&format!("{config:#?}"), secret),
        Err(error) => names_a_variable(&error, secret),
    }
}

/// Inserts the secret, and replaces paths so that no file of this machine is read.
fn prepared(name: String, value: &str, secret: &str) -> (String, String) {
    let upper = name.to_ascii_uppercase();
    let value = &value.replace('^', "\n");
    let value = if upper == "MONGODB_URI" && value.to_ascii_lowercase().contains("tlscafile") {
        format!("mongodb://u:{secret}@h/?tlsCAFile=/nowhere/at.all")
    } else if upper == "WEBHOOK_HEADER_SECRET" && value.contains(':') {
        // The name of the header is not secret.
        let (name, hidden) = value.split_at(value.find(':').unwrap_or(0));
        format!("{name}{}", hidden.replace('$', secret))
    } else if SECRETS.contains(&&*upper) {
        value.replace('$', secret)
    } else if SERVERS.contains(&&*upper) {
        // The value may list several servers, so that credentials end at the last `@`.
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

/// Inserts the secret into the credentials, which end at the last `@` between `start` and `end`.
fn with_credentials(value: &str, secret: &str, start: usize, end: usize) -> String {
    let credentials = value[start..end].rfind('@').map_or("", |at| &value[start..start + at]);
    let (before, rest) = (&value[..start], &value[start + credentials.len()..]);
    format!("{before}{}{rest}", credentials.replace('$', secret))
}

/// Checks that the error names a documented variable in one line.
fn names_a_variable(error: &ConfigError, secret: &str) {
    let is_documented = REFERENCE.contains(&format!("| `{}` |", error.variable));
    assert!(is_documented || error.variable == SEVERAL, "{error}");
    assert!(!error.reason.trim().is_empty(), "{error}");
    assert!(!error.to_string().contains(char::is_control), "not one line: {error}");
    has_no_secret(&error.to_string(), secret);
}

/// Checks that `text` does not contain the secret.
fn has_no_secret(text: &str, secret: &str) {
    assert!(!text.to_ascii_lowercase().contains(secret), "the text contains the secret: {text}");
}
