//! Who may see the console: whoever has its password or its token, or a session that one of them opened.
//!
//! Browsers log in by the printed link or by a form and keep a session; tools send `Basic` or `Bearer` with
//! each request. Wrong logins are counted and slowed down here, whatever way they come.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aftercall_common::process::config::Secret;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    backoff::{Attempt, Attempts, Source},
    session::{Session, Sessions},
};
use crate::{
    Config,
    metrics::{LoginOutcome, Metrics},
};

/// How a request is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// By the cookie of a session, which a browser sends by itself.
    Session(Session),
    /// By a login that a browser sends by itself.
    Basic,
    /// By a token, which no browser sends by itself.
    Bearer,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It carries no login.
    Missing,
    /// Its login is wrong.
    Wrong,
    /// Its login was not looked at: too many from there were wrong. How long to wait.
    TooEarly(Duration),
}

/// What lets in. Holds digests, which compare in constant time whatever the lengths.
pub struct Access {
    user: String,
    basic: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
    sessions: Sessions,
    attempts: Mutex<Attempts>,
    metrics: Metrics,
}

impl Access {
    /// What the configuration lets in.
    pub fn new(config: &Config, metrics: Metrics) -> Self {
        let login = |password: &str| format!("{}:{password}", config.console_user);
        let basic = config.console_password.as_ref().map(|password| login(password.expose()));
        let bearer = config.console_token.as_ref().map(Secret::expose);
        Self {
            user: config.console_user.clone(),
            basic: basic.as_deref().map(digest),
            bearer: bearer.map(digest),
            sessions: Sessions::new([basic.as_deref(), bearer]),
            attempts: Mutex::default(),
            metrics,
        }
    }

    /// The session of a request, if it has one.
    pub fn session(&self, headers: &HeaderMap) -> Option<Session> {
        self.sessions.of(headers, Timestamp::now())
    }

    /// Whether a request with these headers may enter. A session is never kept waiting.
    pub fn admit(&self, headers: &HeaderMap, source: &Source) -> Result<Caller, Denied> {
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

    /// Whether `token` is the token, as the printed link carries it.
    pub fn log_in_by_link(&self, token: &str, source: &Source) -> Result<(), Denied> {
        self.attempt(source, || equal(self.bearer, token))?;
        self.metrics.console_login(LoginOutcome::Opened);
        Ok(())
    }

    /// Whether `secret` is the password or the token, as the form sends it.
    pub fn log_in(&self, secret: &str, source: &Source) -> Result<(), Denied> {
        let secret = secret.trim();
        let by_password = || equal(self.basic, &format!("{}:{secret}", self.user));
        self.attempt(source, || by_password() | equal(self.bearer, secret))?;
        self.metrics.console_login(LoginOutcome::Opened);
        Ok(())
    }

    /// The cookie of a new session.
    pub fn open(&self, headers: &HeaderMap) -> HeaderValue {
        self.sessions.open(rand::random(), Timestamp::now(), is_https(headers))
    }

    /// The cookie that ends the session in the browser.
    pub fn close(&self, headers: &HeaderMap) -> HeaderValue {
        self.sessions.close(is_https(headers))
    }

    fn attempt(&self, source: &Source, is_right: impl FnOnce() -> bool) -> Result<(), Denied> {
        let attempt = self.lock().attempt(source, Instant::now(), is_right);
        match attempt {
            Attempt::Right => Ok(()),
            Attempt::Wrong { log } => {
                self.metrics.console_login(LoginOutcome::Wrong);
                if let Some(count) = log {
                    tracing::warn!(source = %source.peer(), count, "wrong login at the console");
                }
                Err(Denied::Wrong)
            }
            Attempt::TooEarly(wait) => {
                self.metrics.console_login(LoginOutcome::Delayed);
                Err(Denied::TooEarly(wait))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the browser reached the proxy before us by https. A false claim costs its sender the cookie only.
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

    /// A source of its own for each attempt.
    fn source(n: u8) -> Source {
        Source::new([192, 0, 2, n].into(), &HeaderMap::new())
    }

    #[test]
    fn a_login_is_the_right_one_or_none() {
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
                access.admit(&headers(header::AUTHORIZATION, &login), &source(n)),
                expected,
                "{login}"
            );
        }
        for host in ["localhost:9082", "127.0.0.1", "console.example.com"] {
            let host = headers(header::HOST, host);
            assert_eq!(both.admit(&host, &source(99)), Err(Denied::Missing), "no host goes without a login");
        }
    }

    #[test]
    fn the_form_takes_password_and_token_and_the_link_the_token() {
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
    fn a_session_enters_also_from_a_source_that_has_to_wait() {
        let access = access(&[("CONSOLE_TOKEN", "0123456789ab")]);
        let cookie = access.open(&HeaderMap::new());
        let session = headers(header::COOKIE, cookie.to_str().unwrap().split(';').next().unwrap());
        let (wrong, right) = (
            headers(header::AUTHORIZATION, "Bearer wrong-wrong-wrong"),
            headers(header::AUTHORIZATION, "Bearer 0123456789ab"),
        );
        for _ in 0..5 {
            assert_eq!(access.admit(&wrong, &source(1)), Err(Denied::Wrong));
        }
        assert!(matches!(access.admit(&right, &source(1)), Err(Denied::TooEarly(_))));
        assert!(matches!(access.admit(&session, &source(1)), Ok(Caller::Session(_))));
        assert_eq!(access.admit(&right, &source(2)), Ok(Caller::Bearer));
    }

    #[test]
    fn a_cookie_is_for_https_alone_where_the_page_came_by_it() {
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
}
