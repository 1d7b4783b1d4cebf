//! Whether a request that changes something was made by our own pages. Pure.
//!
//! Browsers say where a request comes from (`Sec-Fetch-Site`, older ones `Origin`), and no page can
//! make them lie. So nothing has to be kept, and a form of one worker may be sent to another.

use axum::http::{HeaderMap, Method, header};

use super::auth::Caller;

/// Whether the request may be followed. `caller` is `None` for the login itself.
pub fn is_ours(method: &Method, headers: &HeaderMap, caller: Option<Caller>) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) || caller == Some(Caller::Bearer) {
        return true; // Changes nothing; or carries what no browser adds by itself.
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => same_host(text(header::ORIGIN.as_str()), text(header::HOST.as_str())),
    }
}

fn same_host(origin: Option<&str>, host: Option<&str>) -> bool {
    let (Some(origin), Some(host)) = (origin, host) else { return false };
    origin.split_once("://").is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_change_anything() {
        let (basic, bearer) = (Some(Caller::Basic), Some(Caller::Bearer));
        let (own, other) = (Some("http://localhost:9082"), Some("http://evil.example"));
        #[rustfmt::skip]
        let table = [ // method, caller, Sec-Fetch-Site, Origin, whether it is followed
            (Method::GET,  None,   Some("cross-site"),  None,         true),
            (Method::POST, None,   Some("same-origin"), own,          true),
            (Method::POST, basic,  Some("same-origin"), None,         true),
            (Method::POST, basic,  Some("same-site"),   own,          false),
            (Method::POST, None,   Some("cross-site"),  own,          false),
            (Method::POST, None,   Some("none"),        None,         false),
            (Method::POST, None,   None,                own,          true),
            (Method::POST, basic,  None,                other,        false),
            (Method::POST, basic,  None,                Some("null"), false),
            (Method::POST, basic,  None,                None,         false),
            (Method::POST, bearer, None,                None,         true),
            (Method::DELETE, None,  Some("cross-site"), None,         false),
        ];
        for (method, caller, site, origin, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:9082".parse().unwrap());
            site.map(|site| headers.insert("sec-fetch-site", site.parse().unwrap()));
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            assert_eq!(
                is_ours(&method, &headers, caller),
                expected,
                "{method} {caller:?} {site:?} {origin:?}"
            );
        }
    }
}
