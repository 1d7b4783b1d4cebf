//! Authentication of the console's requests: by password, by token, by a session that one of them opened, or by
//! a trusted proxy that names the user.
//!
//! Browsers log in with the printed link or with a form, and then keep a session. Tools send `Basic` or
//! `Bearer` with each request. Wrong logins of every kind are counted here and slow down their source.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::{http::SourceLog, process::config::Secret};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    backoff::{Attempt, Attempts, Source},
    ended_sessions::EndedSessions,
    named::{BadName, NamingProxies},
    session::{Session, Sessions},
};
use crate::{
    Config,
    domain::audit::{Login, Person},
    metrics::{LoginOutcome, Metrics},
};

/// Most proxies whose lines in the log are bounded.
const MAX_PROXIES: usize = 64;
/// Most senders of requests of other sites that are logged.
const MAX_FOREIGN: usize = 64;

/// How a request is authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// By a trusted proxy, under this name. Browsers send by themselves what the proxy asks for, also for pages of
    /// other sites.
    Named(Arc<str>),
    /// By the cookie of a session. Browsers send it by themselves, also for pages of other sites.
    Session(Session),
    /// By user and password. Browsers send them by themselves, also for pages of other sites.
    Basic,
    /// By a token. No browser sends it by itself.
    Bearer,
}

/// Why a request is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The request carries no login.
    Missing,
    /// The login is wrong.
    Wrong,
    /// The login was not checked, because too many logins of its source were wrong. The source has to wait
    /// this long.
    Delayed(Duration),
}

/// Why a request is refused although it may carry a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// The trusted proxy sent a header that is no name.
    Bad(BadName),
    /// The trusted proxy sent no header, and there is no other login.
    Missing,
}

/// The configured logins. They are kept as digests, so that comparing takes the same time for texts of any
/// length.
pub struct Access {
    user: String,
    basic: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
    /// `None`: there is neither password nor token, so nothing opens a session, and no key could be derived.
    sessions: Option<Sessions>,
    naming: Option<NamingProxies>,
    attempts: Mutex<Attempts>,
    /// Bounds the log lines about proxies that name nobody.
    unnamed: Mutex<SourceLog>,
    /// Bounds the log lines about requests of other sites.
    foreign: Mutex<SourceLog>,
    /// The sessions that were ended by a logout.
    ended: EndedSessions,
    metrics: Metrics,
}

impl Access {
    /// The logins of `config`.
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let login = |password: &str| format!("{}:{password}", config.console_user);
        let basic = config.console_password.as_ref().map(|password| login(password.expose()));
        let bearer = config.console_token.as_ref().map(Secret::expose);
        Self {
            user: config.console_user.clone(),
            basic: basic.as_deref().map(digest),
            bearer: bearer.map(digest),
            sessions: (basic.is_some() || bearer.is_some())
                .then(|| Sessions::new([basic.as_deref(), bearer])),
            naming: NamingProxies::of(config),
            attempts: Mutex::default(),
            unnamed: Mutex::new(SourceLog::new(MAX_PROXIES)),
            foreign: Mutex::new(SourceLog::new(MAX_FOREIGN)),
            ended: EndedSessions::default(),
            metrics,
        }
    }

    /// The session of a request with these headers, if it has a valid one.
    pub fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let session = self.sessions.as_ref()?.of(headers, Timestamp::now())?;
        (!self.ended.contains(session)).then_some(session)
    }

    /// Whether the login of `caller` has ended since it was checked.
    pub fn has_ended(&self, caller: &Caller) -> bool {
        matches!(caller, Caller::Session(session) if self.ended.contains(*session))
    }

    /// Logs that `peer` sent a request that does not come from a page of the console.
    pub fn log_foreign(&self, peer: IpAddr) {
        let line = self.foreign.lock().unwrap_or_else(PoisonError::into_inner).record(peer, Instant::now());
        if let Some(count) = line {
            tracing::warn!(source = %peer, count, "the console refused a request that a page of another site sent");
        }
    }

    /// The user whom the proxy `peer` names. `None`: the peer is no trusted proxy, or the shared login counts.
    ///
    /// # Errors
    /// A trusted proxy names nobody.
    pub fn named(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Option<Caller>, Unnamed> {
        let Some(naming) = &self.naming else { return Ok(None) };
        match naming.name(peer, headers) {
            Ok(Some(name)) => Ok(Some(Caller::Named(name))),
            Ok(None) if self.sessions.is_none() => Err(Unnamed::Missing),
            Ok(None) => Ok(None),
            Err(bad) => {
                let line =
                    self.unnamed.lock().unwrap_or_else(PoisonError::into_inner).record(peer, Instant::now());
                if let Some(count) = line {
                    let header = naming.header();
                    tracing::warn!(proxy = %peer, %header, %bad, count, "a trusted proxy named no user of the console");
                }
                Err(Unnamed::Bad(bad))
            }
        }
    }

    /// The header in which the proxy names the user. `None`: no proxy does.
    pub fn user_header(&self) -> Option<&HeaderName> {
        self.naming.as_ref().map(NamingProxies::header)
    }

    /// The person behind a login.
    pub fn person(&self, caller: &Caller) -> Person {
        match caller {
            Caller::Named(name) => Person { name: name.to_string(), login: Login::Proxy },
            Caller::Session(_) | Caller::Basic | Caller::Bearer => {
                Person { name: self.user.clone(), login: Login::Shared }
            }
        }
    }

    /// Authenticates a request with these headers. A request with a session is never delayed.
    pub fn authenticate(&self, headers: &HeaderMap, source: &Source) -> Result<Caller, Denied> {
        if let Some(session) = self.session(headers) {
            return Ok(Caller::Session(session));
        }
        let Some(login) = headers.get(header::AUTHORIZATION) else { return Err(Denied::Missing) };
        let mut caller = None;
        self.attempt(source, || {
            caller = self.caller(login);
            caller.is_some()
        })?;
        caller.ok_or(Denied::Wrong)
    }

    fn caller(&self, login: &HeaderValue) -> Option<Caller> {
        let (scheme, rest) = login.to_str().ok()?.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return equal(self.bearer, rest).then_some(Caller::Bearer);
        }
        let login = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        (scheme.eq_ignore_ascii_case("basic") && equal(self.basic, &login)).then_some(Caller::Basic)
    }

    /// Checks the token of a printed link.
    pub fn log_in_by_link(&self, token: &str, source: &Source) -> Result<(), Denied> {
        self.attempt(source, || equal(self.bearer, token))?;
        self.metrics.console_login(LoginOutcome::Opened);
        Ok(())
    }

    /// Checks the password or token that the form sent.
    pub fn log_in(&self, secret: &str, source: &Source) -> Result<(), Denied> {
        let secret = secret.trim();
        let by_password = || equal(self.basic, &format!("{}:{secret}", self.user));
        self.attempt(source, || by_password() | equal(self.bearer, secret))?;
        self.metrics.console_login(LoginOutcome::Opened);
        Ok(())
    }

    /// The cookie of a new session. `None`: there are no sessions.
    pub fn open_session(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let sessions = self.sessions.as_ref()?;
        Some(sessions.open(rand::random(), Timestamp::now(), is_https(headers)))
    }

    /// Ends the session of a request with these headers. Returns the cookie that removes it from the browser. `None`:
    /// there are no sessions.
    pub fn close_session(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(session) = self.session(headers) {
            self.ended.add(session, Instant::now());
        }
        self.sessions.as_ref().map(|sessions| sessions.close(is_https(headers)))
    }

    fn attempt(&self, source: &Source, is_right: impl FnOnce() -> bool) -> Result<(), Denied> {
        let attempt = self.lock().attempt(source, Instant::now(), is_right);
        match attempt {
            Attempt::Accepted => Ok(()),
            Attempt::Wrong { log } => {
                self.metrics.console_login(LoginOutcome::Wrong);
                if let Some(count) = log {
                    tracing::warn!(source = %source.peer(), count, "wrong login at the console");
                }
                Err(Denied::Wrong)
            }
            Attempt::Delayed(wait) => {
                self.metrics.console_login(LoginOutcome::Delayed);
                Err(Denied::Delayed(wait))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the browser uses https, according to the proxy in front of the console. A false claim harms only
/// its sender: the browser does not keep the cookie.
fn is_https(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last = |list: &str| list.rsplit(',').next().unwrap_or_default().trim().to_ascii_lowercase();
    last(text("x-forwarded-proto")) == "https" || last(text("forwarded")).contains("proto=https")
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn equal(expected: Option<[u8; 32]>, given: &str) -> bool {
    let same = digest(given).ct_eq(&expected.unwrap_or_default());
    bool::from(same & Choice::from(u8::from(expected.is_some())))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn access(vars: &[(&str, &str)]) -> Access {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Access::new(&Config::from_vars(vars).unwrap(), Metrics::register(&mut Registry::default()))
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    /// The source of attempt `n`. Each attempt has another source, so that no attempt is delayed.
    fn source(n: u8) -> Source {
        Source::new([192, 0, 2, n].into(), &HeaderMap::new())
    }

    #[test]
    fn only_a_complete_correct_login_is_accepted() {
        let both = access(&[("CONSOLE_PASSWORD", "correct horse"), ("CONSOLE_TOKEN", "0123456789ab")]);
        let token = access(&[("CONSOLE_TOKEN", "0123456789ab")]);
        let basic = |login: &str| format!("Basic {}", BASE64_STANDARD.encode(login));
        #[rustfmt::skip]
        let table = [
            (&both,  basic("operator:correct horse"),       Ok(Caller::Basic)),
            (&both,  basic("operator:correct horse "),      Err(Denied::Wrong)),
            (&both,  basic("root:correct horse"),           Err(Denied::Wrong)),
            (&both,  basic(""),                             Err(Denied::Wrong)),
            (&both,  "Basic %%%".to_owned(),                Err(Denied::Wrong)),
            (&both,  "Bearer 0123456789ab".to_owned(),      Ok(Caller::Bearer)),
            (&both,  "bearer  0123456789ab".to_owned(),     Ok(Caller::Bearer)),
            (&both,  "Bearer 0123456789abc".to_owned(),     Err(Denied::Wrong)),
            (&both,  "Bearer".to_owned(),                   Err(Denied::Wrong)),
            (&token, basic("operator:0123456789ab"),        Err(Denied::Wrong)),
            (&token, basic("operator:"),                    Err(Denied::Wrong)),
        ];
        for (n, (access, login, expected)) in (0..).zip(table) {
            assert_eq!(
                access.authenticate(&headers(header::AUTHORIZATION, &login), &source(n)),
                expected,
                "{login}"
            );
        }
        for host in ["localhost:9082", "127.0.0.1", "console.example.com"] {
            let host = headers(header::HOST, host);
            assert_eq!(
                both.authenticate(&host, &source(99)),
                Err(Denied::Missing),
                "every host needs a login"
            );
        }
    }

    #[test]
    fn the_form_accepts_password_or_token_and_the_link_only_the_token() {
        let both = access(&[("CONSOLE_PASSWORD", "correct horse"), ("CONSOLE_TOKEN", "0123456789ab")]);
        let token = access(&[("CONSOLE_TOKEN", "0123456789ab")]);
        #[rustfmt::skip]
        let table = [ // access, secret, by the form, by the link
            (&both,  "correct horse",          true,  false),
            (&both,  " 0123456789ab\n",        true,  false),
            (&both,  "0123456789ab",           true,  true),
            (&token, "0123456789ab",           true,  true),
            (&token, "correct horse",          false, false),
            (&both,  "operator:correct horse", false, false),
            (&both,  "",                       false, false),
        ];
        for (n, (access, secret, form, link)) in (0..).zip(table) {
            assert_eq!(access.log_in(secret, &source(n)).is_ok(), form, "{secret:?}");
            assert_eq!(access.log_in_by_link(secret, &source(100 + n)).is_ok(), link, "{secret:?}");
        }
    }

    #[test]
    fn a_session_is_accepted_from_a_source_that_has_to_wait() {
        let access = access(&[("CONSOLE_TOKEN", "0123456789ab")]);
        let cookie = access.open_session(&HeaderMap::new()).unwrap();
        let session = headers(header::COOKIE, cookie.to_str().unwrap().split(';').next().unwrap());
        let (wrong, right) = (
            headers(header::AUTHORIZATION, "Bearer wrong-wrong-wrong"),
            headers(header::AUTHORIZATION, "Bearer 0123456789ab"),
        );
        for _ in 0..5 {
            assert_eq!(access.authenticate(&wrong, &source(1)), Err(Denied::Wrong));
        }
        assert!(matches!(access.authenticate(&right, &source(1)), Err(Denied::Delayed(_))));
        let caller = access.authenticate(&session, &source(1)).unwrap();
        assert!(matches!(caller, Caller::Session(_)) && !access.has_ended(&caller));
        access.close_session(&session);
        assert!(access.has_ended(&caller), "a copy of the cookie is worth nothing after the logout");
        assert_eq!(access.authenticate(&session, &source(1)), Err(Denied::Missing));
        assert_eq!(access.authenticate(&right, &source(2)), Ok(Caller::Bearer));
    }

    #[test]
    fn a_cookie_is_secure_if_the_browser_uses_https() {
        #[rustfmt::skip]
        let table = [
            ("x-forwarded-proto", "https",                      true),
            ("x-forwarded-proto", "http, HTTPS",                true),
            ("x-forwarded-proto", "https, http",                false),
            ("forwarded",         "for=1.2.3.4;proto=https",    true),
            ("forwarded",         "for=1.2.3.4",                false),
            ("host",              "localhost",                  false),
        ];
        for (name, value, secure) in table {
            let headers = headers(header::HeaderName::from_static(name), value);
            assert_eq!(is_https(&headers), secure, "{name}: {value}");
        }
    }

    #[test]
    fn without_a_secret_no_session_is_accepted() {
        let proxy = [("CONSOLE_USER_HEADER", "X-User"), ("CONSOLE_TRUSTED_PROXIES", "10.0.0.1")];
        let access = access(&proxy);
        assert_eq!(access.open_session(&HeaderMap::new()), None);
        // The key of such a session would be known to everybody.
        let cookie = Sessions::new([None, None]).open(7, Timestamp::now(), false);
        let forged = headers(header::COOKIE, cookie.to_str().unwrap().split(';').next().unwrap());
        assert_eq!(access.authenticate(&forged, &source(1)), Err(Denied::Missing));
        assert!(access.log_in("", &source(2)).is_err() && access.log_in_by_link("", &source(3)).is_err());
    }

    #[test]
    fn a_proxy_that_names_nobody_leaves_the_shared_login() {
        let proxy = [("CONSOLE_USER_HEADER", "X-User"), ("CONSOLE_TRUSTED_PROXIES", "10.0.0.1")];
        let (alone, shared) =
            (access(&proxy), access(&[proxy[0], proxy[1], ("CONSOLE_TOKEN", "0123456789ab")]));
        let (proxy, other) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let (ana, nobody) = (headers(HeaderName::from_static("x-user"), "ana"), HeaderMap::new());
        let named = Caller::Named("ana".into());
        assert_eq!(alone.person(&named), Person { name: "ana".to_owned(), login: Login::Proxy });
        assert_eq!(alone.named(proxy, &ana), Ok(Some(named)));
        assert_eq!(alone.named(other, &ana), Err(Unnamed::Missing));
        assert_eq!(alone.named(proxy, &nobody), Err(Unnamed::Missing));
        assert_eq!(shared.named(proxy, &nobody), Ok(None));
        assert_eq!(shared.named(other, &ana), Ok(None));
        let bad = headers(HeaderName::from_static("x-user"), " ");
        assert_eq!(shared.named(proxy, &bad), Err(Unnamed::Bad(BadName::Empty)));
        assert_eq!(shared.person(&Caller::Bearer).login, Login::Shared);
    }
}
