//! Protection against forged requests of other sites (CSRF). Pure.
//!
//! Browsers name the site that sent a request in `Sec-Fetch-Site`. Older browsers name it in `Origin`. No
//! page can change these headers. Therefore the console needs no CSRF token, and a form of one worker can be
//! sent to another worker.

use axum::http::{HeaderMap, Method, header};

use super::auth::Caller;

/// Whether the request may be served: the request changes nothing, or a page of the console sent it. `caller`
/// is `None` for the login form.
pub fn is_allowed(method: &Method, headers: &HeaderMap, caller: Option<&Caller>) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) || caller == Some(&Caller::Bearer) {
        return true; // The request changes nothing, or carries a token, which no browser adds by itself.
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
    fn only_pages_of_the_console_can_change_something() {
        let named = Caller::Named("ana".into());
        let (basic, bearer, named) = (Some(&Caller::Basic), Some(&Caller::Bearer), Some(&named));
        let (own, other) = (Some("http://localhost:9082"), Some("http://evil.example"));
        #[rustfmt::skip]
        let table = [ // method, caller, Sec-Fetch-Site, Origin, allowed
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
            (Method::POST, named,  Some("same-origin"), own,          true),
            (Method::POST, named,  Some("cross-site"),  own,          false),
            (Method::POST, named,  None,                None,         false),
            (Method::DELETE, None,  Some("cross-site"), None,         false),
        ];
        for (method, caller, site, origin, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:9082".parse().unwrap());
            site.map(|site| headers.insert("sec-fetch-site", site.parse().unwrap()));
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            assert_eq!(
                is_allowed(&method, &headers, caller),
                expected,
                "{method} {caller:?} {site:?} {origin:?}"
            );
        }
    }
}
