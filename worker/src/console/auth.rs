//! Who may see the console. Pure.
//!
//! With a password or a token, whoever sends it. Without, whoever is on this machine and means to talk
//! to this machine: a page of another site that has its own name lead here (DNS rebinding) does not.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::Config;

/// How somebody got in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// From this machine, without a login.
    Local,
    /// By a login that a browser sends by itself.
    Basic,
    /// By a token, which no browser sends by itself.
    Bearer,
}

/// Why somebody stays out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no login.
    Missing,
    /// It is not the right one.
    Wrong,
    /// Meant for another host.
    OtherHost,
}

/// What lets in. Holds digests, which compare in constant time whatever the lengths.
pub struct Access {
    basic: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
}

impl Access {
    /// What the configuration lets in.
    pub fn new(config: &Config) -> Self {
        let basic = config.console_password.as_ref();
        Self {
            basic: basic.map(|password| digest(&format!("{}:{}", config.console_user, password.expose()))),
            bearer: config.console_token.as_ref().map(|token| digest(token.expose())),
        }
    }

    /// Whether a request with these headers may enter.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        if self.basic.is_none() && self.bearer.is_none() {
            return if names_this_machine(headers) { Ok(Caller::Local) } else { Err(Denied::OtherHost) };
        }
        let Some(login) = headers.get(header::AUTHORIZATION) else { return Err(Denied::Missing) };
        let (scheme, rest) = login.to_str().ok().and_then(|login| login.split_once(' ')).unwrap_or_default();
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && equal(self.bearer, rest) {
            return Ok(Caller::Bearer);
        }
        let decoded = BASE64_STANDARD.decode(rest).ok().and_then(|login| String::from_utf8(login).ok());
        if scheme.eq_ignore_ascii_case("basic") && equal(self.basic, &decoded.unwrap_or_default()) {
            return Ok(Caller::Basic);
        }
        Err(Denied::Wrong)
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn equal(expected: Option<[u8; 32]>, given: &str) -> bool {
    let same = digest(given).ct_eq(&expected.unwrap_or_default());
    bool::from(same & Choice::from(u8::from(expected.is_some())))
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(vars: &[(&str, &str)]) -> Access {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Access::new(&Config::from_vars(vars).unwrap())
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
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
        for (access, login, expected) in table {
            assert_eq!(access.admit(&headers(header::AUTHORIZATION, &login)), expected, "{login}");
        }
        assert_eq!(both.admit(&headers(header::HOST, "localhost:9082")), Err(Denied::Missing));
    }

    #[test]
    fn without_a_login_only_this_machine_by_its_own_names() {
        let open = access(&[]);
        for host in ["localhost", "localhost:9082", "127.0.0.1:9082", "[::1]:9082", "127.0.0.2"] {
            assert_eq!(open.admit(&headers(header::HOST, host)), Ok(Caller::Local), "{host}");
        }
        for host in ["evil.example:9082", "localhost.evil.example", "10.0.0.1:9082", "", "[2001:db8::1]:1"] {
            assert_eq!(open.admit(&headers(header::HOST, host)), Err(Denied::OtherHost), "{host}");
        }
        assert_eq!(open.admit(&HeaderMap::new()), Err(Denied::OtherHost));
    }
}
