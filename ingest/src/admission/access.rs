//! Decides which requests to `/api/agent-calls*` are served. Pure.
//!
//! A request without a bearer token is anonymous. It is served only if `API_ANONYMOUS` allows it, the caller
//! connects directly from the gateway's own machine, and the request does not come from a web page. A web
//! page in a browser on this machine can send requests to loopback addresses, also through a host name that
//! resolves to one.

use hyper::{HeaderMap, header};

use super::source_ip::Sender;
use crate::config::{Anonymous, Policy};

/// The access that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads about calls.
    Read,
    /// Places calls.
    Full,
}

/// The reason why a request does not have the access that it needs, in a sentence for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unauthorized(pub &'static str);

/// Decides whether `sender` has `access`.
///
/// # Errors
/// See [`Unauthorized`].
pub fn authorize(
    policy: &Policy,
    access: Access,
    headers: &HeaderMap,
    sender: Sender,
) -> Result<(), Unauthorized> {
    if let Some(given) = bearer(headers) {
        let full = policy.api_token.contains(given);
        let read = policy.api_read_token.contains(given) && access == Access::Read;
        return if full || read { Ok(()) } else { refuse("The bearer token does not give this access.") };
    }
    let allowed = match (policy.api_anonymous, access) {
        (Anonymous::All, _) | (Anonymous::Read, Access::Read) => true,
        (Anonymous::Read, Access::Full) | (Anonymous::None, _) => false,
    };
    if !allowed {
        return refuse("A valid bearer token is required (API_TOKEN of the gateway).");
    }
    if !sender.is_direct || !sender.address.is_loopback() {
        return refuse("Without a bearer token only callers on the gateway's own machine are served.");
    }
    if is_cross_site(headers) {
        return refuse("Without a bearer token requests of web pages of another origin are not served.");
    }
    if !has_local_host(headers) {
        return refuse("Without a bearer token the Host header must name this machine, as localhost does.");
    }
    Ok(())
}

fn refuse(condition: &'static str) -> Result<(), Unauthorized> {
    Err(Unauthorized(condition))
}

/// The token of `Authorization: Bearer <token>`. The scheme may be in upper or lower case.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) =
        headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a browser sent the request for a page of another origin. Browsers set `Origin` and
/// `Sec-Fetch-Site`, and a page cannot change them. Other senders usually send neither.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.as_bytes());
    let is_foreign_site = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| !matches!(site, b"same-origin" | b"none"));
    let is_foreign_origin = text(header::ORIGIN).is_some_and(|origin| {
        let host = text(header::HOST).unwrap_or_default();
        let own =
            |scheme: &[u8]| origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host));
        !own(b"http://") && !own(b"https://")
    });
    is_foreign_site || is_foreign_origin
}

/// Whether a web page that does not belong to this machine sent the request. The page has another origin, or
/// its host name was made to resolve to this machine (DNS rebinding).
pub fn is_foreign_page(headers: &HeaderMap) -> bool {
    let is_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    is_page && (is_cross_site(headers) || !has_local_host(headers))
}

/// Whether the `Host` header names this machine. After DNS rebinding it holds the host name of the page.
pub fn has_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<hyper::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    type Headers = &'static [(&'static str, &'static str)];
    /// `API_ANONYMOUS`, access, headers, (sender, whether it is direct), whether it is served.
    type Row = (&'static str, Access, Headers, (&'static str, bool), bool);

    fn headers(pairs: Headers) -> HeaderMap {
        let pairs = pairs.iter().chain(&[("host", "localhost:8080")]);
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
        }
        headers
    }

    fn policy(anonymous: &str) -> Policy {
        let vars = [
            ("ALLOW_UNSIGNED", "true"),
            ("API_TOKEN", "full,next"),
            ("API_READ_TOKEN", "read"),
            ("API_ANONYMOUS", anonymous),
        ];
        Policy::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
    }

    #[test]
    fn tokens_and_allowed_direct_callers_on_this_machine_are_served() {
        use Access::{Full, Read};
        #[rustfmt::skip]
        let table: [Row; 26] = [
            // anonymous, access, headers,                                    sender, direct,       served
            ("none", Full, &[("authorization", "Bearer full")],              ("9.9.9.9", true),    true),
            ("none", Full, &[("authorization", "bearer  next ")],            ("9.9.9.9", false),   true),
            ("none", Read, &[("authorization", "Bearer full")],              ("9.9.9.9", true),    true),
            ("none", Read, &[("authorization", "Bearer read")],              ("9.9.9.9", true),    true),
            ("none", Full, &[("authorization", "Bearer read")],              ("127.0.0.1", true),  false),
            ("all",  Full, &[("authorization", "Bearer wrong")],             ("127.0.0.1", true),  false),
            ("all",  Full, &[("authorization", "Bearer ")],                  ("127.0.0.1", true),  false),
            ("none", Read, &[("authorization", "Bearer full2")],             ("127.0.0.1", true),  false),
            ("none", Read, &[("authorization", "Basic full")],               ("127.0.0.1", true),  false),
            ("none", Read, &[],                                              ("127.0.0.1", true),  false),
            ("read", Read, &[],                                              ("127.0.0.1", true),  true),
            ("read", Full, &[],                                              ("127.0.0.1", true),  false),
            ("all",  Full, &[],                                              ("127.0.0.1", true),  true),
            ("all",  Full, &[],                                              ("::1", true),        true),
            ("all",  Full, &[],                                              ("9.9.9.9", true),    false),
            ("all",  Full, &[],                                              ("127.0.0.1", false), false),
            ("all",  Full, &[("host", "127.0.0.1:8080")],                    ("127.0.0.1", true),  true),
            ("all",  Full, &[("host", "[::1]:8080")],                        ("::1", true),        true),
            ("all",  Full, &[("host", "evil.example")],                      ("127.0.0.1", true),  false),
            ("all",  Full, &[("host", "localhost.evil.example")],            ("127.0.0.1", true),  false),
            ("all",  Full, &[("origin", "http://localhost:8080")],           ("127.0.0.1", true),  true),
            ("all",  Full, &[("origin", "http://localhost:3000")],           ("127.0.0.1", true),  false),
            ("all",  Full, &[("origin", "null")],                            ("127.0.0.1", true),  false),
            ("all",  Read, &[("sec-fetch-site", "cross-site")],              ("127.0.0.1", true),  false),
            ("all",  Read, &[("sec-fetch-site", "same-site")],               ("127.0.0.1", true),  false),
            ("all",  Read, &[("sec-fetch-site", "none")],                    ("127.0.0.1", true),  true),
        ];
        for (anonymous, access, pairs, (address, is_direct), served) in table {
            let sender = Sender { address: address.parse().unwrap(), is_direct };
            let found = authorize(&policy(anonymous), access, &headers(pairs), sender);
            assert_eq!(found.is_ok(), served, "{anonymous} {access:?} {pairs:?} {sender:?}: {found:?}");
        }
        assert!(!has_local_host(&HeaderMap::new()), "a request without a Host header");
    }

    #[test]
    fn pages_of_other_origins_and_rebound_host_names_are_foreign() {
        for (pairs, expected) in [
            (&[][..], false),
            (&[("host", "gateway.internal")], false),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "https://evil.example")], true),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], true),
            (&[("host", "evil.example"), ("sec-fetch-site", "same-origin")], true),
        ] {
            assert_eq!(is_foreign_page(&headers(pairs)), expected, "{pairs:?}");
        }
    }
}
