//! Checks of the whole configuration, before anything starts.

use std::time::Duration;

use aftercall_common::{http::tls, process::config::ConfigError};
use mongodb::options::{ConnectionString, Tls as MongoTls};

use super::{Config, Recordings, Role, elevenlabs::key_header};

/// Longest wait for ElevenLabs when it places a call. The gateway waits for the worker for 60 s.
const MAX_PLACE_TIMEOUT: Duration = Duration::from_secs(50);
/// Shortest password and token of the console, in characters.
const CONSOLE_SECRET_MIN: usize = 12;

impl Config {
    /// Checks values that broker or database would refuse, and combinations of variables.
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        self.broker().check()?;
        self.check_database()?;
        if self.elevenlabs_api_key.as_ref().is_some_and(|key| key_header(key).is_err()) {
            let reason = "holds characters that cannot be sent in a header";
            return Err(ConfigError::new("ELEVENLABS_API_KEY", reason));
        }
        if !(0.01..=100.0).contains(&self.reconcile_rate) {
            return Err(ConfigError::new("RECONCILE_RATE", "must be from 0.01 to 100"));
        }
        if self.recordings == Recordings::Fetch && self.elevenlabs_api_key.is_none() {
            return Err(ConfigError::new("RECORDINGS", "fetch needs ELEVENLABS_API_KEY"));
        }
        let waits = [("PLACE_TIMEOUT", self.place_timeout), ("RECONCILE_EVERY", self.reconcile_every)];
        if let Some((name, _)) = waits.into_iter().find(|(_, wait)| wait.is_zero()) {
            return Err(ConfigError::new(name, "must be longer than 0s"));
        }
        if self.place_timeout > MAX_PLACE_TIMEOUT {
            return Err(ConfigError::new("PLACE_TIMEOUT", "must be at most 50s: the gateway waits for 60 s"));
        }
        self.check_registration()?;
        self.check_console()?;
        Ok(self)
    }

    fn check_database(&self) -> Result<(), ConfigError> {
        // The driver (3.9.1) panics if a `%` precedes a character of several bytes.
        if !self.mongodb_uri.expose().is_ascii() {
            return Err(ConfigError::new(
                "MONGODB_URI",
                "characters that are not ASCII must be percent-encoded",
            ));
        }
        let database = ConnectionString::parse(self.mongodb_uri.expose()).map_err(|_error| {
            // The driver's own error may contain credentials.
            let reason = format!("not a MongoDB connection string: {}", self.mongodb_uri);
            ConfigError::new("MONGODB_URI", reason)
        })?;
        if let Some(MongoTls::Enabled(tls)) = database.tls {
            // The driver ignores a file that it cannot read, and then trusts no server.
            let read = tls.ca_file_path.as_deref().map(tls::authorities).transpose();
            read.map_err(|reason| {
                ConfigError::new("MONGODB_URI", format!("the file of tlsCAFile {reason}"))
            })?;
        }
        if !is_database_name(&self.mongodb_database) {
            let reason = "must be 1 to 63 characters, none of them / \\ . \" $ * < > : | ? or a space";
            return Err(ConfigError::new("MONGODB_DATABASE", reason));
        }
        Ok(())
    }

    /// Checks that a process that registers the webhook has what it needs. Only the role `reconcile` registers.
    fn check_registration(&self) -> Result<(), ConfigError> {
        if !self.register || !self.roles.has(Role::Reconcile) {
            return Ok(());
        }
        let needed = [
            ("ELEVENLABS_STATUS_CALLBACK_URL", self.elevenlabs_status_callback_url.is_some()),
            ("ELEVENLABS_API_KEY", self.elevenlabs_api_key.is_some()),
        ];
        if let Some((name, _)) = needed.into_iter().find(|(_, is_set)| !is_set) {
            return Err(ConfigError::new(name, "must be set with REGISTER=true"));
        }
        if self.secret_file.is_none() {
            let reason =
                "must be set with REGISTER=true: ElevenLabs shows the secret of a new webhook only once";
            return Err(ConfigError::new("SECRET_FILE", reason));
        }
        Ok(())
    }

    fn check_console(&self) -> Result<(), ConfigError> {
        if self.console_user.contains(|c: char| c == ':' || c.is_control()) {
            let reason = "must hold no colon, because a colon ends the user name in a basic login";
            return Err(ConfigError::new("CONSOLE_USER", reason));
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
        self.check_named_people()?;
        let has_login = self.console_password.is_some()
            || self.console_token.is_some()
            || self.console_user_header.is_some();
        if self.roles.has(Role::Console) && !has_login {
            let reason = "the role console always wants a login: set CONSOLE_TOKEN or CONSOLE_PASSWORD, or let a \
                          reverse proxy name the user in CONSOLE_USER_HEADER";
            return Err(ConfigError::new("CONSOLE_TOKEN", reason));
        }
        Ok(())
    }

    /// Checks that the header that names a user comes from known proxies only. Without them, every client could
    /// choose a name.
    fn check_named_people(&self) -> Result<(), ConfigError> {
        let proxies = &self.console_trusted_proxies;
        let wrong = |reason| Err(ConfigError::new("CONSOLE_TRUSTED_PROXIES", reason));
        match (&self.console_user_header, proxies.is_empty()) {
            (Some(_), true) => wrong(
                "must name the addresses of the proxy with CONSOLE_USER_HEADER: without them, every client could \
                 log in under any name",
            ),
            (None, false) => wrong(
                "has no effect without CONSOLE_USER_HEADER, the header in which the proxy names the user",
            ),
            (Some(_), false) if proxies.has_everybody() => wrong(
                "holds every address: every client could log in under any name. Name the addresses of the proxy",
            ),
            _ => Ok(()),
        }
    }
}

/// Whether MongoDB accepts the name of a database.
fn is_database_name(name: &str) -> bool {
    (1..64).contains(&name.len()) && !name.contains(|c: char| c.is_control() || r#"/\. "$*<>:|?"#.contains(c))
}
