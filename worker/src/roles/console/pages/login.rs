//! Login: with the link that is printed at the start, or with a form. Works without scripts.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Form,
    extract::{Extension, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;

use super::shell;
use crate::roles::console::{
    access::{auth::Denied, backoff::Source},
    assets::{ASSETS, Assets},
    state::Console,
};

/// The first page of the console.
const START: &str = "/calls";
/// Name of the parameter in the printed link.
const TOKEN: &str = "token";
/// How long the answer to a wrong login is delayed, to make guessing slow.
const WRONG_LOGIN_DELAY: Duration = Duration::from_millis(300);

/// A request whose URL carries the token, as the printed link does.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    token: String,
    /// The same address without the token.
    address: String,
}

impl Link {
    /// Reads the token from a request. `None`: its URL carries none.
    pub fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let query = uri.query().filter(|_| method == Method::GET)?;
        let mut token = None;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == TOKEN {
                token = Some(value.into_owned());
            } else {
                rest.append_pair(&name, &value);
            }
        }
        let (token, rest) = (token?, rest.finish());
        let next = form_urlencoded::parse(rest.as_bytes()).find(|(name, _)| name == "next");
        let address = match (uri.path(), next) {
            ("/login", Some((_, next))) => next.into_owned(),
            ("/login", None) => START.to_owned(),
            (path, _) if rest.is_empty() => path.to_owned(),
            (path, _) => format!("{path}?{rest}"),
        };
        Some(Self { token, address: local_address(&address) })
    }
}

/// `address` if it is a page of this console, else the first page. A link must not lead to another site.
fn local_address(address: &str) -> String {
    let mut start = address.bytes();
    let is_local = start.next() == Some(b'/')
        && !start.next().is_some_and(|second| matches!(second, b'/' | b'\\'))
        && address.bytes().all(|byte| byte.is_ascii_graphic())
        && !address.contains("token=");
    let is_page = !["/login", "/logout", "/events"].iter().any(|path| address.starts_with(path));
    if is_local && is_page { address.to_owned() } else { START.to_owned() }
}

/// The address to which a browser returns after its login.
pub fn return_address(method: &Method, uri: &Uri) -> String {
    let address = uri.path_and_query().filter(|_| method == Method::GET);
    local_address(address.map_or(START, |address| address.as_str()))
}

/// Whether `path` needs no login: the form and its assets.
pub fn is_public(path: &str) -> bool {
    matches!(path, "/login" | "/logout" | "/assets/console.css" | "/assets/icon.svg")
}

/// Whether the request comes from a browser, in which a person can fill in the form. All browsers call themselves Mozilla.
pub fn is_browser(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !headers.contains_key(header::AUTHORIZATION)
        && (text(header::USER_AGENT).starts_with("Mozilla/") || text(header::ACCEPT).contains("text/html"))
}

/// The `Retry-After` header, in whole seconds.
fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, whole_seconds(wait).into())
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    assets: &'static Assets,
    next: &'a str,
    problem: Option<String>,
}

/// The answer to a request without a valid login. Browsers (`return_to` is set) get the form and return to that
/// address. Tools get a challenge for which a browser would open a login window of its own.
pub async fn refuse(denied: Denied, return_to: Option<String>) -> Response {
    if denied == Denied::Wrong {
        tokio::time::sleep(WRONG_LOGIN_DELAY).await;
    }
    if let Some(address) = return_to {
        return form_for(denied, &address);
    }
    if let Denied::Delayed(wait) = denied {
        let text = "too many wrong logins; wait before you try again\n";
        return (StatusCode::TOO_MANY_REQUESTS, [retry_after(wait)], text).into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, r#"Basic realm="Aftercall console", charset="UTF-8""#)];
    (StatusCode::UNAUTHORIZED, challenge, "a login is required\n").into_response()
}

/// The form with the reason why it is shown.
fn form_for(denied: Denied, next: &str) -> Response {
    let (status, problem) = match denied {
        Denied::Missing => (StatusCode::UNAUTHORIZED, None),
        Denied::Wrong => {
            (StatusCode::UNAUTHORIZED, Some("This is neither the password nor the token.".to_owned()))
        }
        Denied::Delayed(wait) => {
            let seconds = whole_seconds(wait);
            let text = format!("Too many wrong logins from this address. Try again in {seconds} s.");
            (StatusCode::TOO_MANY_REQUESTS, Some(text))
        }
    };
    let mut answer = render_form(status, next, problem);
    let headers = answer.headers_mut();
    if let Denied::Delayed(wait) = denied {
        let (name, value) = retry_after(wait);
        headers.insert(name, value);
    } else {
        // For a `Bearer` challenge, browsers open no login window of their own.
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Bearer realm="Aftercall console""#),
        );
    }
    answer
}

fn render_form(status: StatusCode, next: &str, problem: Option<String>) -> Response {
    let mut answer = shell::render(status, &Login { assets: &ASSETS, next, problem });
    // With `no-referrer`, browsers would hide the origin of the form from the CSRF check.
    answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// `GET …?token=`: opens a session and redirects to the same page without the token in its address.
pub async fn log_in_by_link(
    console: &Console,
    link: &Link,
    headers: &HeaderMap,
    source: &Source,
) -> Response {
    if console.access.session(headers).is_some() {
        return Redirect::to(&link.address).into_response(); // An old token does not end the session.
    }
    match console.access.log_in_by_link(&link.token, source) {
        Ok(()) => open_session(console, headers, &link.address),
        Err(denied) => refuse(denied, Some(link.address.clone())).await,
    }
}

fn open_session(console: &Console, headers: &HeaderMap, address: &str) -> Response {
    let cookie = [(header::SET_COOKIE, console.access.open_session(headers))];
    (cookie, Redirect::to(address)).into_response()
}

/// `GET /login?next=`
pub async fn form(RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let next = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "next");
    render_form(StatusCode::OK, &local_address(next.as_ref().map_or(START, |(_, next)| next)), None)
}

/// The fields of the form.
#[derive(Deserialize)]
pub struct LoginForm {
    secret: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`
pub async fn log_in(
    State(console): State<Arc<Console>>,
    Extension(source): Extension<Source>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Response {
    let next = local_address(&form.next);
    match console.access.log_in(&form.secret, &source) {
        Ok(()) => open_session(&console, &headers, &next),
        Err(denied) => refuse(denied, Some(next)).await,
    }
}

/// `POST /logout`
pub async fn log_out(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    ([(header::SET_COOKIE, console.access.close_session(&headers))], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_only_to_its_page_without_the_token() {
        #[rustfmt::skip]
        let table = [
            ("/?token=t",                            Some("/")),
            ("/calls?status=busy&token=t&q=%2B65",   Some("/calls?status=busy&q=%2B65")),
            ("/login?token=t",                       Some("/calls")),
            ("/login?token=t&next=/overview?a=1",    Some("/overview?a=1")),
            ("/login?token=t&next=//evil.example",   Some("/calls")),
            ("/login?token=t&next=/%5Cevil.example", Some("/calls")),
            ("/login?token=t&next=https://evil",     Some("/calls")),
            ("/login?token=t&next=/a%0D%0Ab",        Some("/calls")),
            ("//evil.example/?token=t",              Some("/calls")),
            ("/logout?token=t",                      Some("/calls")),
            ("/calls?q=token",                       None),
            ("/calls",                               None),
        ];
        for (address, expected) in table {
            let link = Link::of(&Method::GET, &address.parse().unwrap());
            assert_eq!(link.as_ref().map(|link| link.address.as_str()), expected, "{address}");
            assert!(link.is_none_or(|link| link.token == "t"), "{address}");
        }
        assert_eq!(Link::of(&Method::POST, &Uri::from_static("/?token=t")), None);
    }

    #[test]
    fn only_the_form_and_its_assets_need_no_login() {
        for path in
            ["/", "/calls", "/events", "/assets/console.js", "/assets/htmx.js", "/login/x", "/overview"]
        {
            assert!(!is_public(path), "{path}");
        }
    }
}
