//! Which requests the gateway accepts: the part of the configuration that can change while the gateway runs.
//!
//! Invariant: a reload never removes a secret.

use std::{fmt, path::PathBuf, time::Duration};

use aftercall_common::{
    contract::provider::Provider,
    process::{
        config::{self, ConfigError},
        networks::Networks,
    },
};
use serde::Deserialize;

use super::{
    duration::positive,
    networks::Sources,
    origins::Origins,
    public_url::PublicUrl,
    secrets::{HeaderSecret, ProviderSecrets, ReadError, Secrets},
};

/// The conditions under which requests are accepted. The name of a variable is the name of its field, in
/// upper case.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Policy {
    /// Networks from which ElevenLabs' webhooks are accepted.
    pub allowed_sources: Sources,
    /// Proxies whose `X-Forwarded-For` headers are trusted.
    pub trusted_proxies: Networks,
    /// Whether a webhook that fails a check of its sender or signature is refused, or accepted and reported.
    pub source_policy: SourcePolicy,
    /// Secrets with which the providers sign webhooks. Those of ElevenLabs are missing only with
    /// `allow_unsigned`. The route of any other provider is closed without its secrets.
    #[serde(skip)]
    pub provider_secrets: ProviderSecrets,
    /// Whether `ELEVENLABS_WEBHOOK_SECRET` itself is set.
    #[serde(skip)]
    has_secret_variable: bool,
    /// File with further secrets of ElevenLabs, one per line.
    pub elevenlabs_webhook_secret_file: Option<PathBuf>,
    /// Allows ElevenLabs' webhooks without a signature while no secret is set. The source address then
    /// decides alone, and all customers of the provider share its addresses.
    pub allow_unsigned: bool,
    /// Bearer tokens of senders other than the providers. A webhook with such a token needs no allowed
    /// source and no signature.
    pub events_token: Secrets,
    /// Greatest age of an ElevenLabs signature, by the time in its header.
    #[serde(deserialize_with = "positive")]
    pub signature_tolerance: Duration,
    /// How far the time of an ElevenLabs signature may be ahead of the gateway's clock.
    #[serde(deserialize_with = "positive")]
    pub signature_max_ahead: Duration,
    /// A header that every webhook of ElevenLabs must carry.
    pub webhook_header_secret: Option<HeaderSecret>,
    /// The URL under which Twilio reaches the gateway. Twilio's signatures cover it.
    pub public_url: Option<PublicUrl>,
    /// Bearer tokens for `/api/agent-calls*` with full access.
    pub api_token: Secrets,
    /// Bearer tokens for `/api/agent-calls*` with read access.
    pub api_read_token: Secrets,
    /// What a caller on the gateway's machine may do without a token.
    pub api_anonymous: Anonymous,
    /// Origins whose web pages may use `/api/agent-calls*`, with a token.
    pub api_cors_origins: Origins,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allowed_sources: Sources::default(),
            trusted_proxies: Networks::default(),
            source_policy: SourcePolicy::Enforce,
            provider_secrets: ProviderSecrets::default(),
            has_secret_variable: false,
            elevenlabs_webhook_secret_file: None,
            allow_unsigned: false,
            events_token: Secrets::default(),
            signature_tolerance: Duration::from_hours(1),
            signature_max_ahead: Duration::from_mins(5),
            webhook_header_secret: None,
            public_url: None,
            api_token: Secrets::default(),
            api_read_token: Secrets::default(),
            api_anonymous: Anonymous::None,
            api_cors_origins: Origins::default(),
        }
    }
}

impl Policy {
    /// Reads and checks `vars`.
    ///
    /// # Errors
    /// The variable that cannot be used, and the reason.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let vars: Vec<_> = vars.into_iter().collect();
        if let Some((name, _)) = Self::default().secrets().find(|(name, _)| is_empty(&vars, name)) {
            let reason = "is set, but empty: give it a value, or leave the variable out";
            return Err(ConfigError::new(name, reason));
        }
        let provider_secrets = ProviderSecrets::from_vars(&vars)?;
        let mut policy = Self { provider_secrets, ..config::from_vars(vars)? };
        policy.has_secret_variable = policy.has_secrets_of(Provider::ElevenLabs);
        policy.read_secret_file()?;
        if !policy.has_secrets_of(Provider::ElevenLabs) && !policy.allow_unsigned {
            let reason = "must be set (`aftercall-worker register` prints it), or its file, or ALLOW_UNSIGNED=true: then the \
                source address alone decides, and ElevenLabs' addresses are shared by all of its customers";
            return Err(ConfigError::new("ELEVENLABS_WEBHOOK_SECRET", reason));
        }
        match (policy.has_secrets_of(Provider::Twilio), policy.public_url.is_some()) {
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

    /// Adds the secrets of the file that `ELEVENLABS_WEBHOOK_SECRET_FILE` names. The file may be missing if
    /// webhooks without a signature are allowed, because a worker writes it only when it registers.
    fn read_secret_file(&mut self) -> Result<(), ConfigError> {
        let Some(path) = &self.elevenlabs_webhook_secret_file else { return Ok(()) };
        let reason = match Secrets::read(path) {
            Ok(secrets) => {
                self.provider_secrets.extend(Provider::ElevenLabs, secrets);
                return Ok(());
            }
            Err(ReadError::Missing) if self.allow_unsigned => return Ok(()),
            Err(ReadError::Missing) => format!(
                "there is no file {}; a worker with REGISTER=true and SECRET_FILE writes it",
                path.display()
            ),
            Err(ReadError::Unusable(reason)) => reason,
        };
        Err(ConfigError::new(SECRET_FILE, reason))
    }

    /// Checks that `next` has every secret that this policy has. Without this check, a configuration file
    /// that is cut off would open a route whose secret is missing in the file.
    ///
    /// # Errors
    /// The variable that is missing.
    pub fn check_successor(&self, next: &Self) -> Result<(), ConfigError> {
        let mut secrets = self.secrets().zip(next.secrets());
        match secrets.find(|((_, is_set), (_, stays_set))| *is_set && !stays_set) {
            Some(((name, _), _)) => {
                let reason =
                    "is missing, and a reload cannot remove a secret: restart the gateway to remove it";
                Err(ConfigError::new(name, reason))
            }
            None => Ok(()),
        }
    }

    /// The secrets with which `provider` signs webhooks.
    pub fn secrets_of(&self, provider: Provider) -> &Secrets {
        self.provider_secrets.of(provider)
    }

    /// Whether a secret of `provider` is set.
    pub fn has_secrets_of(&self, provider: Provider) -> bool {
        !self.secrets_of(provider).is_empty()
    }

    /// The variables that hold secrets, each with whether it is set.
    fn secrets(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let of_providers = Provider::ALL.iter().map(|&provider| {
            let is_set = self.has_secrets_of(provider);
            (provider.secret_variable(), is_set)
        });
        of_providers.chain([
            // The secrets of ElevenLabs have two sources, and none of the two may be left out.
            (Provider::ElevenLabs.secret_variable(), self.has_secret_variable),
            (SECRET_FILE, self.elevenlabs_webhook_secret_file.is_some()),
            ("EVENTS_TOKEN", !self.events_token.is_empty()),
            ("WEBHOOK_HEADER_SECRET", self.webhook_header_secret.is_some()),
            ("API_TOKEN", !self.api_token.is_empty()),
            ("API_READ_TOKEN", !self.api_read_token.is_empty()),
        ])
    }

    /// How far the time of a signature may be from the gateway's clock.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance { past: self.signature_tolerance, ahead: self.signature_max_ahead }
    }

    /// Whether webhooks that fail a check of sender or signature are accepted and reported.
    pub fn observes(&self) -> bool {
        self.source_policy == SourcePolicy::Observe
    }

    /// Logs each check that is switched off.
    pub fn warn(&self) {
        if self.observes() {
            tracing::warn!("SOURCE_POLICY is observe: webhooks are accepted from anyone, and only reported");
        }
        if !self.has_secrets_of(Provider::ElevenLabs) {
            tracing::warn!(
                "ALLOW_UNSIGNED is true and ELEVENLABS_WEBHOOK_SECRET is unset: webhooks are accepted without a signature, from ALLOWED_SOURCES only"
            );
        }
        let others = Provider::ALL.iter().filter(|&&provider| provider != Provider::ElevenLabs);
        for provider in others.filter(|&&provider| !self.has_secrets_of(provider)) {
            let (variable, title) = (provider.secret_variable(), provider.title());
            tracing::info!("{variable} is unset: the route for {title} is closed");
        }
        if self.api_anonymous != Anonymous::None {
            tracing::warn!(
                "API_ANONYMOUS is {}: every program on this machine may use /api/agent-calls without a token",
                self.api_anonymous.as_str()
            );
        }
    }
}

/// The variable with the path of a file of secrets.
pub const SECRET_FILE: &str = "ELEVENLABS_WEBHOOK_SECRET_FILE";

/// Whether the variable `name` is set to an empty value.
fn is_empty(vars: &[(String, String)], name: &str) -> bool {
    vars.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && value.trim().is_empty())
}

/// One line `NAME=value` for each variable that is set, with secrets as `***`.
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
        if let Some(path) = &self.elevenlabs_webhook_secret_file {
            writeln!(f, "{SECRET_FILE}={}", path.display())?;
        }
        writeln!(f, "ALLOW_UNSIGNED={}", self.allow_unsigned)?;
        writeln!(f, "API_ANONYMOUS={}", self.api_anonymous.as_str())?;
        if !self.api_cors_origins.is_empty() {
            writeln!(f, "API_CORS_ORIGINS={}", self.api_cors_origins)?;
        }
        let mut set = self.secrets().filter(|(_, is_set)| *is_set);
        set.try_for_each(|(name, _)| writeln!(f, "{name}=***"))
    }
}

/// How far the time of a signature may be from the gateway's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Greatest age.
    pub past: Duration,
    /// Greatest lead over the gateway's clock. The official verifiers have no such bound.
    pub ahead: Duration,
}

/// What happens to a webhook that fails a check of its sender or signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourcePolicy {
    /// The webhook is refused.
    Enforce,
    /// The webhook is accepted, marked and counted. Operators use this to try lists and secrets on real
    /// traffic.
    Observe,
}

/// What a caller on the gateway's machine may do at `/api/agent-calls*` without a token.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Policy, ConfigError> {
        Policy::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn unsigned_webhooks_need_an_explicit_setting() {
        let error = read(&[]).unwrap_err();
        assert_eq!(error.variable, "ELEVENLABS_WEBHOOK_SECRET");
        assert!(error.reason.contains("ALLOW_UNSIGNED=true"), "{error}");
        assert!(read(&[("ALLOW_UNSIGNED", "false")]).is_err());
        assert!(read(&[("ALLOW_UNSIGNED", "true")]).is_ok());
        assert!(read(&[("ELEVENLABS_WEBHOOK_SECRET", "wsec")]).is_ok());
    }

    #[test]
    fn secrets_of_a_file_are_added_and_a_missing_file_is_an_error_unless_unsigned_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let file = (SECRET_FILE, path.to_str().unwrap());
        let unsigned = ("ALLOW_UNSIGNED", "true");
        assert_eq!(read(&[file]).unwrap_err().variable, SECRET_FILE);
        assert_eq!(read(&[file, ("ELEVENLABS_WEBHOOK_SECRET", "b")]).unwrap_err().variable, SECRET_FILE);
        let open = read(&[file, unsigned]).unwrap();
        assert!(!open.has_secrets_of(Provider::ElevenLabs));
        std::fs::write(&path, "wsec_new\nwsec_old\n").unwrap();
        let both = read(&[file, ("ELEVENLABS_WEBHOOK_SECRET", "b")]).unwrap();
        let secrets: Vec<_> = both.secrets_of(Provider::ElevenLabs).iter().collect();
        assert_eq!(secrets, [&b"b"[..], b"wsec_new", b"wsec_old"]);
        let signed = read(&[file, unsigned]).unwrap();
        assert!(open.check_successor(&signed).is_ok() && signed.check_successor(&open).is_err());
        assert!(!format!("{signed:?} {signed}").contains("wsec_"));
        // Neither the variable nor the file may be left out, even if the other one is still there.
        for (next, missing) in [
            (read(&[file]), "ELEVENLABS_WEBHOOK_SECRET"),
            (read(&[("ELEVENLABS_WEBHOOK_SECRET", "b")]), SECRET_FILE),
        ] {
            assert_eq!(both.check_successor(&next.unwrap()).unwrap_err().variable, missing);
        }
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&[file, unsigned]).unwrap_err().variable, SECRET_FILE);
    }

    #[test]
    fn a_successor_keeps_every_secret_that_is_set() {
        let all = [
            ("ELEVENLABS_WEBHOOK_SECRET", "a"),
            ("TWILIO_AUTH_TOKEN", "b"),
            ("EVENTS_TOKEN", "c"),
            ("WEBHOOK_HEADER_SECRET", "X-Hook: d"),
            ("API_TOKEN", "e"),
            ("API_READ_TOKEN", "f"),
        ];
        let unsigned = ("ALLOW_UNSIGNED", "true");
        let url = ("PUBLIC_URL", "https://h.example");
        let full = read(&[&all[..], &[unsigned, url]].concat()).unwrap();
        let set: BTreeSet<_> = full.secrets().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        assert_eq!(set, all.iter().map(|(name, _)| *name).collect());
        for (missing, _) in all {
            let kept = all.into_iter().filter(|(name, _)| *name != missing).chain([unsigned]);
            let kept: Vec<_> = kept.chain((missing != "TWILIO_AUTH_TOKEN").then_some(url)).collect();
            let next = read(&kept).unwrap();
            assert_eq!(full.check_successor(&next).unwrap_err().variable, missing);
            assert_eq!(next.check_successor(&full), Ok(()), "a secret may be added: {missing}");
        }
    }
}
