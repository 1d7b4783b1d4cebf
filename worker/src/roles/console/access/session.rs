//! Sessions of browsers: signed cookies, so that the server stores no sessions. Pure.
//!
//! The key is derived from the configured password and token. Therefore all processes accept the same
//! cookies, also after a restart, and a changed password or token ends all sessions.
//!
//! Invariant: a session ends after [`LIFETIME`].

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_hours(12);

/// A browser that has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(u64);

#[cfg(test)]
impl Session {
    pub fn of_test(id: u64) -> Self {
        Self(id)
    }
}

/// Creates and checks the cookies of sessions.
pub struct Sessions {
    key: Hmac<Sha256>,
    name: String,
}

impl Sessions {
    /// Sessions whose key is derived from these secrets.
    pub fn new(secrets: [Option<&str>; 2]) -> Self {
        let mut derived = hmac(b"aftercall console sessions, version 1");
        for secret in secrets {
            // The lengths are hashed too, so that different pairs of secrets never give the same bytes.
            let secret = secret.unwrap_or_default().as_bytes();
            derived.update(&(secret.len() as u64).to_be_bytes());
            derived.update(secret);
        }
        let key = hmac(&derived.finalize().into_bytes());
        // Browsers send cookies to all ports of a host. The name differs between consoles with different
        // secrets.
        let mut name = key.clone();
        name.update(b"name");
        let name = format!("aftercall_{}", hex::encode(&name.finalize().into_bytes()[..4]));
        Self { key, name }
    }

    /// The cookie of a new session `id`, opened at `now`. `secure`: the browser sends the cookie only by
    /// https.
    pub fn open(&self, id: u64, now: Timestamp, secure: bool) -> HeaderValue {
        let ends = now.as_second().saturating_add(LIFETIME.as_secs().cast_signed());
        let claim = format!("{ends}.{id:016x}");
        let value = format!("{claim}.{}", self.signature(&claim));
        self.cookie(&value, LIFETIME.as_secs(), secure)
    }

    /// The cookie that removes the session from the browser.
    pub fn close(&self, secure: bool) -> HeaderValue {
        self.cookie("", 0, secure)
    }

    /// `SameSite=Lax`, because the printed link must work from a page of another site, for example a chat.
    /// Requests that change something are POSTs; browsers send no `Lax` cookie with a POST of another site.
    fn cookie(&self, value: &str, seconds: u64, secure: bool) -> HeaderValue {
        let secure = if secure { "; Secure" } else { "" };
        let text =
            format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", self.name);
        HeaderValue::from_str(&text).expect("hex digits, base64 and names are ASCII")
    }

    /// The session of a request at `now`, if the request has a valid one.
    pub fn of(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.name).find_map(|(_, value)| self.read(value, now))
    }

    fn read(&self, value: &str, now: Timestamp) -> Option<Session> {
        let (claim, signature) = value.rsplit_once('.')?;
        let mut mac = self.key.clone();
        mac.update(claim.as_bytes());
        mac.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let (ends, id) = claim.split_once('.')?;
        let ends: i64 = ends.parse().ok()?;
        (now.as_second() < ends).then(|| u64::from_str_radix(id, 16).ok().map(Session))?
    }

    fn signature(&self, claim: &str) -> String {
        let mut mac = self.key.clone();
        mac.update(claim.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn headers(cookie: &str) -> HeaderMap {
        let pair = cookie.split(';').next().unwrap();
        [(header::COOKIE, format!("other=1; {pair}; x").parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_session_ends_with_its_lifetime_or_its_secrets() {
        let sessions = Sessions::new([Some("operator:correct horse"), None]);
        let cookie = sessions.open(7, second(0), true).to_str().unwrap().to_owned();
        assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let sent = headers(&cookie);
        assert_eq!(sessions.of(&sent, second(43_199)), Some(Session(7)));
        assert_eq!(sessions.of(&sent, second(43_200)), None);
        let restarted = Sessions::new([Some("operator:correct horse"), None]);
        assert_eq!(restarted.of(&sent, second(0)), Some(Session(7)));
        for other in
            [[Some("operator:correct horsf"), None], [None, Some("operator:correct horse")], [None, None]]
        {
            let mut other = Sessions::new(other);
            other.name.clone_from(&sessions.name);
            assert_eq!(other.of(&sent, second(0)), None, "other secrets");
        }
        assert!(!sessions.open(7, second(0), false).to_str().unwrap().contains("Secure"));
        assert!(sessions.close(false).to_str().unwrap().contains("=; Path=/; Max-Age=0"));
    }

    #[test]
    fn a_changed_cookie_is_not_accepted() {
        let sessions = Sessions::new([Some("secret"), None]);
        let cookie = sessions.open(7, second(0), false).to_str().unwrap().to_owned();
        let pair = cookie.split(';').next().unwrap();
        for changed in [
            pair.replace("=43200.", "=93200."),
            pair.replace("0007.", "0008."),
            format!("{pair}A"),
            pair[..pair.len() - 1].to_owned(),
            format!("{}=", sessions.name),
            format!("{}=43200.0000000000000007.", sessions.name),
            format!("{}=.", sessions.name),
        ] {
            assert_ne!(changed, pair);
            assert_eq!(sessions.of(&headers(&changed), second(0)), None, "{changed}");
        }
    }
}
