//! Who may send: the part of the configuration that can change while the gateway runs.
//!
//! Invariant: a request is judged by one policy from its first check to its last, and a policy that
//! cannot be used changes nothing.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aftercall_common::process::config::{self, ConfigError};
use hyper::{HeaderMap, Uri, header::HeaderName};
use serde::Deserialize;

use super::{
    signature::elevenlabs::Tolerance,
    source_ip::{Networks, Sources},
};
use crate::config::{Secrets, positive};

/// What a webhook must be to be let in. Field names in upper case are the variables.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Policy {
    /// Networks that ElevenLabs' webhooks may come from.
    pub allowed_sources: Sources,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Networks,
    /// Whether what is not allowed is refused, or merely reported.
    pub source_policy: SourcePolicy,
    /// Secrets a webhook of ElevenLabs may be signed with. Empty only with `allow_unsigned`.
    pub elevenlabs_webhook_secret: Secrets,
    /// Whether ElevenLabs' webhooks need no signature while there is no secret: the source address then
    /// decides alone, and the provider's addresses are shared by all of its customers.
    pub allow_unsigned: bool,
    /// Bearer tokens of senders other than the providers. Neither their source nor a signature is asked.
    pub events_token: Secrets,
    /// Greatest age of an ElevenLabs signature, by the time in its header.
    #[serde(deserialize_with = "positive")]
    pub signature_tolerance: Duration,
    /// How far ahead of our clock it may be.
    #[serde(deserialize_with = "positive")]
    pub signature_max_ahead: Duration,
    /// A header that a webhook of ElevenLabs must carry.
    pub webhook_header_secret: Option<HeaderSecret>,
    /// Secrets a callback of Twilio may be signed with. Empty: the route is closed.
    pub twilio_auth_token: Secrets,
    /// Where Twilio reaches us: its signatures cover the URL.
    pub public_url: Option<PublicUrl>,
    /// Bearer tokens of `/api/agent-calls*` that may do everything.
    pub api_token: Secrets,
    /// Bearer tokens of `/api/agent-calls*` that may read.
    pub api_read_token: Secrets,
    /// What a caller on this machine may do without a token.
    pub api_anonymous: Anonymous,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed_sources: Sources::default(),
            trusted_proxies: Networks::default(),
            source_policy: SourcePolicy::Enforce,
            elevenlabs_webhook_secret: Secrets::default(),
            allow_unsigned: false,
            events_token: Secrets::default(),
            signature_tolerance: Duration::from_hours(1),
            signature_max_ahead: Duration::from_mins(5),
            webhook_header_secret: None,
            twilio_auth_token: Secrets::default(),
            public_url: None,
            api_token: Secrets::default(),
            api_read_token: Secrets::default(),
            api_anonymous: Anonymous::None,
        }
    }
}

impl Policy {
    /// Reads and checks `vars`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let vars: Vec<_> = vars.into_iter().collect();
        if let Some((name, _)) = SECRETS.into_iter().find(|(name, _)| is_empty(&vars, name)) {
            let reason = "is set, but empty: give it a value, or leave the variable out";
            return Err(ConfigError::new(name, reason));
        }
        let policy: Self = config::from_vars(vars)?;
        if policy.elevenlabs_webhook_secret.is_empty() && !policy.allow_unsigned {
            let reason = "must be set (`aftercall-worker register` prints it), or ALLOW_UNSIGNED=true: then the \
                source address alone decides, and ElevenLabs' addresses are shared by all of its customers";
            return Err(ConfigError::new("ELEVENLABS_WEBHOOK_SECRET", reason));
        }
        match (!policy.twilio_auth_token.is_empty(), policy.public_url.is_some()) {
            (true, false) => {
                let reason = "must be set with TWILIO_AUTH_TOKEN: Twilio signs the URL it calls";
                Err(ConfigError::new("PUBLIC_URL", reason))
            }
            (false, true) => {
                let reason = "must be set with PUBLIC_URL: the route for Twilio is closed without it";
                Err(ConfigError::new("TWILIO_AUTH_TOKEN", reason))
            }
            (true, true) | (false, false) => Ok(policy),
        }
    }

    /// Checks that `next` takes no secret away that this policy has: a file that was cut short would
    /// otherwise open what the secret protects.
    ///
    /// # Errors
    /// The variable that is missing.
    pub fn check_successor(&self, next: &Self) -> Result<(), ConfigError> {
        match SECRETS.into_iter().find(|(_, is_set)| is_set(self) && !is_set(next)) {
            Some((name, _)) => {
                let reason =
                    "is missing, and a reload takes no secret away: restart the gateway to remove it";
                Err(ConfigError::new(name, reason))
            }
            None => Ok(()),
        }
    }

    /// How far a signature's time may be from ours.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance { past: self.signature_tolerance, ahead: self.signature_max_ahead }
    }

    /// Whether what is not allowed is merely reported.
    pub fn observes(&self) -> bool {
        self.source_policy == SourcePolicy::Observe
    }

    /// Logs each check that is switched off.
    pub fn warn(&self) {
        if self.observes() {
            tracing::warn!("SOURCE_POLICY is observe: webhooks are accepted from anyone, and only reported");
        }
        if self.elevenlabs_webhook_secret.is_empty() {
            tracing::warn!(
                "ALLOW_UNSIGNED is true and ELEVENLABS_WEBHOOK_SECRET is unset: webhooks are accepted without a signature, from ALLOWED_SOURCES only"
            );
        }
        if self.twilio_auth_token.is_empty() {
            tracing::info!("TWILIO_AUTH_TOKEN is unset: the route for Twilio is closed");
        }
        if self.api_anonymous != Anonymous::None {
            tracing::warn!(
                "API_ANONYMOUS is {}: every program on this machine may use /api/agent-calls without a token",
                self.api_anonymous.as_str()
            );
        }
    }
}

/// Whether a policy has a certain secret.
type IsSet = fn(&Policy) -> bool;

/// The variables that hold secrets, and whether one is set.
const SECRETS: [(&str, IsSet); 6] = [
    ("ELEVENLABS_WEBHOOK_SECRET", |policy| !policy.elevenlabs_webhook_secret.is_empty()),
    ("EVENTS_TOKEN", |policy| !policy.events_token.is_empty()),
    ("WEBHOOK_HEADER_SECRET", |policy| policy.webhook_header_secret.is_some()),
    ("TWILIO_AUTH_TOKEN", |policy| !policy.twilio_auth_token.is_empty()),
    ("API_TOKEN", |policy| !policy.api_token.is_empty()),
    ("API_READ_TOKEN", |policy| !policy.api_read_token.is_empty()),
];

/// Whether the variable is there without a value.
fn is_empty(vars: &[(String, String)], name: &str) -> bool {
    vars.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && value.trim().is_empty())
}

/// One `NAME=value` a line, secrets as `***`, unset ones left out.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ALLOWED_SOURCES={}", self.allowed_sources)?;
        writeln!(f, "TRUSTED_PROXIES={}", self.trusted_proxies)?;
        writeln!(f, "SOURCE_POLICY={}", if self.observes() { "observe" } else { "enforce" })?;
        writeln!(f, "SIGNATURE_TOLERANCE={:?}", self.signature_tolerance)?;
        writeln!(f, "SIGNATURE_MAX_AHEAD={:?}", self.signature_max_ahead)?;
        if let Some(url) = &self.public_url {
            writeln!(f, "PUBLIC_URL={url}")?;
        }
        writeln!(f, "ALLOW_UNSIGNED={}", self.allow_unsigned)?;
        writeln!(f, "API_ANONYMOUS={}", self.api_anonymous.as_str())?;
        for (name, is_set) in SECRETS {
            if is_set(self) {
                writeln!(f, "{name}=***")?;
            }
        }
        Ok(())
    }
}

/// What happens to a webhook that source or signature speak against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourcePolicy {
    /// It is refused.
    Enforce,
    /// It is taken in, marked and counted: for trying out lists and secrets on real traffic.
    Observe,
}

/// What a caller on this machine may do at `/api/agent-calls*` without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Everything, placing calls included.
    All,
}

impl Anonymous {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::All => "all",
        }
    }
}

/// `Name: value`, or several values with commas while one is replaced by the next: what ElevenLabs'
/// `request_headers` of a webhook can carry.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct HeaderSecret {
    name: HeaderName,
    values: Secrets,
}

impl HeaderSecret {
    /// Whether `headers` carry one of the values. The time taken tells nothing about which.
    pub fn is_carried(&self, headers: &HeaderMap) -> bool {
        headers.get(&self.name).is_some_and(|given| self.values.contain(given.as_bytes().trim_ascii()))
    }
}

impl TryFrom<String> for HeaderSecret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, values) = text.split_once(':').ok_or("must be of the form 'Name: value'")?;
        let name = name.trim().parse().map_err(|_error| "begins with no name of a header")?;
        let values = Secrets::try_from(values.to_owned()).map_err(|_error| "holds an empty value")?;
        Ok(Self { name, values })
    }
}

impl fmt::Debug for HeaderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

/// Scheme, host and perhaps port and a path in front of ours, as the outside sees them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct PublicUrl {
    scheme: String,
    host: String,
    port: u16,
    prefix: String,
}

impl PublicUrl {
    /// The URL of `path_and_query` without and with its port.
    pub fn spellings(&self, path_and_query: &str) -> [String; 2] {
        let Self { scheme, host, port, prefix } = self;
        [
            format!("{scheme}://{host}{prefix}{path_and_query}"),
            format!("{scheme}://{host}:{port}{prefix}{path_and_query}"),
        ]
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let form = || "must be a URL like https://hooks.example.com".to_owned();
        let url: Uri = text.trim().parse().map_err(|_error| form())?;
        let (scheme, usual) = match url.scheme_str() {
            Some("https") => ("https", 443),
            Some("http") => ("http", 80),
            _ => return Err(form()),
        };
        let authority = url.authority().ok_or_else(form)?;
        if url.query().is_some() || authority.as_str().contains('@') {
            return Err(form());
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spellings("")[1])
    }
}

/// The policy in force. Cheap to clone; all clones see the same policy.
#[derive(Clone, Debug)]
pub struct ReloadablePolicy(Arc<RwLock<Arc<Policy>>>);

impl ReloadablePolicy {
    /// Begins with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The policy to judge one request by.
    pub fn get(&self) -> Arc<Policy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges by `policy` from now on.
    pub fn set(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Policy, ConfigError> {
        Policy::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn unsigned_operation_needs_an_explicit_word() {
        let error = read(&[]).unwrap_err();
        assert_eq!(error.variable, "ELEVENLABS_WEBHOOK_SECRET");
        assert!(error.reason.contains("ALLOW_UNSIGNED=true"), "{error}");
        assert!(read(&[("ALLOW_UNSIGNED", "false")]).is_err());
        assert!(read(&[("ALLOW_UNSIGNED", "true")]).is_ok());
        assert!(read(&[("ELEVENLABS_WEBHOOK_SECRET", "wsec")]).is_ok());
    }

    #[test]
    fn a_successor_keeps_every_secret_that_is_set() {
        let all = [
            ("ELEVENLABS_WEBHOOK_SECRET", "a"),
            ("EVENTS_TOKEN", "b"),
            ("WEBHOOK_HEADER_SECRET", "X-Hook: c"),
            ("TWILIO_AUTH_TOKEN", "d"),
            ("API_TOKEN", "e"),
            ("API_READ_TOKEN", "f"),
        ];
        let unsigned = ("ALLOW_UNSIGNED", "true");
        let url = ("PUBLIC_URL", "https://h.example");
        let full = read(&[&all[..], &[unsigned, url]].concat()).unwrap();
        assert_eq!(SECRETS.map(|(name, _)| name), all.map(|(name, _)| name));
        for (missing, _) in all {
            let kept = all.into_iter().filter(|(name, _)| *name != missing).chain([unsigned]);
            let kept: Vec<_> = kept.chain((missing != "TWILIO_AUTH_TOKEN").then_some(url)).collect();
            let next = read(&kept).unwrap();
            assert_eq!(full.check_successor(&next).unwrap_err().variable, missing);
            assert_eq!(next.check_successor(&full), Ok(()), "a secret may be added: {missing}");
        }
    }

    #[test]
    fn a_header_secret_is_one_of_its_values() {
        let secret = HeaderSecret::try_from("X-Hook-Token: old, new".to_owned()).unwrap();
        let carried = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-hook-token", value.parse().unwrap());
            secret.is_carried(&headers)
        };
        assert!(carried("old") && carried("new") && carried(" new "));
        assert!(
            !carried("") && !carried("ol") && !carried("old, new") && !secret.is_carried(&HeaderMap::new())
        );
        for wrong in ["token", "X Y: a", ": a", "X-A: a,,b"] {
            assert!(HeaderSecret::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_url_is_scheme_host_port_and_prefix() {
        #[rustfmt::skip]
        let table = [
            ("https://h.example",        "https://h.example/p?q",      "https://h.example:443/p?q"),
            ("https://h.example/",       "https://h.example/p?q",      "https://h.example:443/p?q"),
            ("http://h.example:8080/in", "http://h.example/in/p?q",    "http://h.example:8080/in/p?q"),
        ];
        for (text, without, with) in table {
            assert_eq!(PublicUrl::try_from(text.to_owned()).unwrap().spellings("/p?q"), [without, with]);
        }
        for wrong in ["", "h.example", "ftp://h", "https://", "https://u:p@h", "https://h/?q=1"] {
            assert!(PublicUrl::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
