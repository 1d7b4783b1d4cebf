//! The connection to NATS.
//!
//! Connecting returns at once and continues in the background. A process therefore starts while the broker is
//! down, and becomes ready when the broker is back. Code that must not wait calls [`is_connected`] before it
//! publishes, because the client buffers publishes while it is disconnected and delivers them later.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, connection::State};
use percent_encoding::percent_decode_str;
use rand::RngExt as _;

use super::config::{ConfigError, Url};
use crate::http::tls;

/// Interval of pings. The client reconnects when two pings in a row are not answered.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);

const URL: &str = "NATS_URL";
const CREDENTIALS: &str = "NATS_CREDS_FILE";
const AUTHORITY: &str = "NATS_CA_FILE";

/// Address of the broker, login, and trusted authorities.
#[derive(Clone, Copy, Debug)]
pub struct Broker<'a> {
    /// `NATS_URL`: one or more addresses, separated by commas. They may hold a login (`user:password@` or
    /// `token@`), the same in all of them, with reserved characters percent-encoded.
    pub url: &'a Url,
    /// `NATS_CREDS_FILE`: file with a JWT and a key as the login.
    pub credentials: Option<&'a Path>,
    /// `NATS_CA_FILE`: file with the trusted authorities, instead of the authorities of the system. With it,
    /// TLS is required. Without it, TLS is used if the broker or the scheme `tls://` requires it.
    pub authority: Option<&'a Path>,
}

/// The user of the broker that a process logs in as; see `deploy/nats/users.conf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Stores webhooks and sends requests to workers.
    Gateway,
    /// Processes stored webhooks and answers requests.
    Worker,
}

impl Role {
    /// Prefix of the subjects for answers to its requests. Each role has its own prefix, so that the broker
    /// can hide answers from other users. All prefixes are below the usual `_INBOX`, which brokers with other
    /// users allow.
    fn inbox_prefix(self) -> &'static str {
        match self {
            Self::Gateway => "_INBOX.gateway",
            Self::Worker => "_INBOX.worker",
        }
    }
}

/// The login in a URL.
#[derive(PartialEq, Eq)]
enum Login {
    User { name: String, password: String },
    Token(String),
}

impl Broker<'_> {
    /// Starts connecting as `name`.
    ///
    /// # Errors
    /// See [`Self::check`]. A broker that is absent or refuses the login is not an error, because it may
    /// accept the connection later.
    pub async fn connect(self, name: &str, role: Role) -> anyhow::Result<Client> {
        let (addresses, options) = self.options()?;
        let logged = Arc::new(Mutex::new(String::new()));
        let options = options
            .name(name)
            .custom_inbox_prefix(role.inbox_prefix())
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(reconnect_delay)
            .reconnect_to_server_callback({
                // Called before every attempt with the error of the previous one, which the client reports
                // nowhere else.
                let logged = logged.clone();
                move |servers, _| {
                    log_new_reasons(&servers, &mut logged.lock().unwrap_or_else(PoisonError::into_inner));
                    std::future::ready(None)
                }
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    logged.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                log(&event);
                std::future::ready(())
            });
        options.connect(addresses).await.with_context(|| format!("connecting to NATS at {}", self.url))
    }

    /// Checks the variables without connecting.
    pub fn check(self) -> Result<(), ConfigError> {
        self.options().map(drop)
    }

    /// Addresses and options of the client.
    fn options(self) -> Result<(Vec<ServerAddr>, ConnectOptions), ConfigError> {
        let (addresses, login) = self.addresses()?;
        let mut options = match login {
            None => ConnectOptions::new(),
            Some(Login::User { name, password }) => ConnectOptions::with_user_and_password(name, password),
            Some(Login::Token(token)) => ConnectOptions::with_token(token),
        };
        if let Some(file) = self.credentials {
            let unusable = |error| ConfigError::new(CREDENTIALS, format!("'{}': {error}", file.display()));
            let text = std::fs::read_to_string(file).map_err(unusable)?;
            options = options.credentials(&text).map_err(unusable)?;
        }
        if let Some(file) = self.authority {
            // The client reads the file at each attempt and reports errors only then, so the file is checked
            // here.
            tls::authorities(file)
                .map_err(|reason| ConfigError::new(AUTHORITY, format!("'{}' {reason}", file.display())))?;
            options = options.add_root_certificates(file.to_owned()).require_tls(true);
        }
        Ok((addresses, options))
    }

    /// The addresses and the login in `NATS_URL`. The login is removed from the addresses, because the client
    /// does not use it there but prints the addresses in its logs.
    fn addresses(self) -> Result<(Vec<ServerAddr>, Option<Login>), ConfigError> {
        let wrong = |what: &str| ConfigError::new(URL, format!("{what}: {}", self.url));
        // The client's own error may contain the login, so it is replaced.
        let unreadable = || wrong("not a list of addresses such as nats://host:4222");
        let (mut addresses, mut login) = (Vec::new(), None);
        for part in self.url.expose().split(',') {
            let mut url = part.trim().parse().map_err(|_error| unreadable()).map(ServerAddr::into_inner)?;
            if !matches!(url.scheme(), "nats" | "tls") || url.host().is_none() {
                return Err(unreadable());
            }
            let decode = |text| percent_decode_str(text).decode_utf8().map(String::from);
            let name = decode(url.username()).map_err(|_error| unreadable())?;
            let found = match url.password().map(decode).transpose().map_err(|_error| unreadable())? {
                Some(password) => Some(Login::User { name, password }),
                None if name.is_empty() => None,
                None => Some(Login::Token(name)),
            };
            if found.is_some() && login.is_some() && found != login {
                return Err(wrong("holds more than one login"));
            }
            login = login.or(found);
            let cleared = url.set_username("").and_then(|()| url.set_password(None));
            cleared.map_err(|()| unreadable())?;
            addresses.push(ServerAddr::from_url(url).map_err(|_error| unreadable())?);
        }
        if login.is_some() && self.credentials.is_some() {
            return Err(ConfigError::new(CREDENTIALS, "NATS_URL holds a login already"));
        }
        Ok((addresses, login))
    }
}

/// Whether the client is connected to the broker.
pub fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

/// Delay before the next attempt. It doubles from 4 ms up to [`MAX_RECONNECT_DELAY`]. Jitter keeps the
/// clients of a restarted broker from reconnecting at the same time.
fn reconnect_delay(attempts: usize) -> Duration {
    let exponent = u32::try_from(attempts.min(16)).expect("at most 16");
    let ceiling = Duration::from_millis(4).saturating_mul(1 << exponent).min(MAX_RECONNECT_DELAY);
    ceiling.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Logs the reasons why connecting fails, if they differ from the `logged` ones.
fn log_new_reasons(servers: &[async_nats::Server], logged: &mut String) {
    let reasons = servers.iter().filter_map(|server| {
        let error = server.last_error.as_deref()?;
        Some(format!("{}:{}: {error}{}", server.addr.host(), server.addr.port(), advice(error)))
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    if !reasons.is_empty() && reasons != *logged {
        tracing::warn!(reasons, "cannot connect to NATS; retrying");
        *logged = reasons;
    }
}

/// The setting that an operator should check. Empty if the broker is down.
fn advice(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    if error.contains("corrupt message") {
        " (it speaks no TLS; see NATS_URL, NATS_CA_FILE)"
    } else if error.contains("certificate") {
        " (see NATS_CA_FILE)"
    } else if error.contains("auth") {
        " (see NATS_CREDS_FILE, or the login in NATS_URL)"
    } else {
        ""
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS; reconnecting"),
        // The event of a failed attempt has no reason. `log_new_reasons` logs the reason.
        Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
        Event::ServerError(error) if is_forbidden(&error.to_string()) => tracing::error!(
            %error,
            "the broker refused a publish or a subscription: NATS_URL or NATS_CREDS_FILE must hold the login of this \
             process's own user, and the user needs the permissions of deploy/nats/users.conf"
        ),
        Event::ServerError(error) => tracing::error!(%error, "NATS server"),
        other => tracing::debug!(event = %other, "NATS"),
    }
}

/// Whether the broker refused a publish or a subscription, with `Permissions Violation for Publish to "…"`.
fn is_forbidden(error: &str) -> bool {
    error.to_ascii_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Result<(Vec<String>, Option<Login>), String> {
        let url = Url::new(url);
        let broker = Broker { url: &url, credentials: None, authority: None };
        let (addresses, login) = broker.addresses().map_err(|error| error.to_string())?;
        Ok((addresses.iter().map(|address| address.as_url_str().to_owned()).collect(), login))
    }

    #[test]
    fn login_is_removed_from_the_addresses() {
        let user = |name: &str, password: &str| {
            Some(Login::User { name: name.to_owned(), password: password.to_owned() })
        };
        #[rustfmt::skip]
        let table = [
            ("nats://h:4222",                     &["nats://h:4222"][..],               None),
            ("h1, tls://h2:1",                    &["nats://h1", "tls://h2:1"],         None),
            ("nats://me:p%40ss%2C@h1,nats://h2",  &["nats://h1", "nats://h2"],          user("me", "p@ss,")),
            ("nats://me:a@h1,nats://me:a@h2",     &["nats://h1", "nats://h2"],          user("me", "a")),
            ("nats://t0ken@h",                    &["nats://h"],                        Some(Login::Token("t0ken".to_owned()))),
        ];
        for (url, servers, login) in table {
            let (found, its_login) = addresses(url).expect(url);
            assert!(found == servers && its_login == login, "{url}: {found:?}");
        }
        for wrong in
            ["nats://a:pa55@h1,nats://b:pa55@h2", "nats://me:%FFpa55@h", "ws://me:pa55@h", "nats://me:pa55@"]
        {
            let Err(error) = addresses(wrong) else { panic!("{wrong}") };
            assert!(error.starts_with("NATS_URL: ") && !error.contains("pa55"), "{error}");
        }
    }

    #[test]
    fn invalid_credentials_or_authority_file_is_named_but_its_content_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let (url, login) = (Url::new("nats://h"), Url::new("nats://t0ken@h"));
        let jwt = "-----BEGIN NATS USER JWT-----\npa55\n------END NATS USER JWT------\n";
        let seed = "\n-----BEGIN USER NKEY SEED-----\nSUpa55\n------END USER NKEY SEED------\n";
        let certificate = "-----BEGIN CERTIFICATE-----\ncGE1NQ==\n-----END CERTIFICATE-----\n";
        for text in ["", "pa55", jwt, &format!("{jwt}{seed}"), certificate] {
            std::fs::write(&file, text).unwrap();
            let broker = Broker { url: &url, credentials: None, authority: None };
            let error = Broker { credentials: Some(&file), ..broker }.check().unwrap_err().to_string();
            assert!(error.starts_with("NATS_CREDS_FILE: ") && !error.contains("pa55"), "{error}");
            let error = Broker { authority: Some(&file), ..broker }.check().unwrap_err().to_string();
            assert!(error.starts_with("NATS_CA_FILE: ") && !error.contains("pa55"), "{error}");
        }
        let both = Broker { url: &login, credentials: Some(&file), authority: None };
        assert_eq!(both.check().unwrap_err().to_string(), "NATS_CREDS_FILE: NATS_URL holds a login already");
    }

    #[test]
    fn advice_is_given_unless_the_broker_is_down() {
        for (error, shown) in [
            ("IO error: Connection refused (os error 111)", ""),
            ("IO error: invalid peer certificate: UnknownIssuer", "NATS_CA_FILE"),
            ("IO error: received corrupt message of type InvalidContentType", "speaks no TLS"),
            ("authorization violation: nats: authorization violation", "NATS_CREDS_FILE"),
            ("IO error: nats: User Authentication Expired", "NATS_CREDS_FILE"),
        ] {
            assert!(advice(error).contains(shown) && advice(error).is_empty() == shown.is_empty(), "{error}");
        }
    }

    #[test]
    fn reconnect_delay_is_bounded() {
        for attempts in 0..200 {
            let delay = reconnect_delay(attempts);
            assert!(delay <= MAX_RECONNECT_DELAY, "attempt {attempts}: {delay:?}");
        }
        assert!(reconnect_delay(50) >= MAX_RECONNECT_DELAY / 2);
    }
}
