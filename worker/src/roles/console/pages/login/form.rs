//! The login form, and the answers to requests without a valid login.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Form,
    extract::{Extension, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;

use super::link::{Link, START, local_address};
use crate::{
    domain::audit,
    roles::console::{
        access::{
            auth::{Access, Denied, Unnamed},
            backoff::Source,
            user,
        },
        assets::{ASSETS, Assets},
        pages::shell,
        state::Console,
    },
};

/// How long the answer to a wrong login is delayed, to make guessing slow.
const WRONG_LOGIN_DELAY: Duration = Duration::from_millis(300);

/// Whether `path` needs no login: the form and its assets.
pub fn is_public(path: &str) -> bool {
    matches!(path, "/login" | "/logout") || is_asset(path)
}

/// Whether `path` is an asset of the form.
pub fn is_asset(path: &str) -> bool {
    matches!(path, "/assets/console.css" | "/assets/icon.svg")
}

/// Whether the request comes from a browser, in which a person can fill in the form. All browsers call
/// themselves Mozilla.
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

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused {
    assets: &'static Assets,
    text: String,
}

/// The answer to a request of a trusted proxy that names nobody.
pub fn refuse_unnamed(access: &Access, unnamed: Unnamed) -> Response {
    let header = access.user_header().map(ToString::to_string).unwrap_or_default();
    let text = match unnamed {
        Unnamed::Bad(bad) => {
            format!(
                "The header {header} {bad}. The proxy in front of the console has to put the name of the user there."
            )
        }
        Unnamed::Missing => format!(
            "People reach this console through a proxy that names them in the header {header}. This request did not \
             come from such a proxy, or the proxy did not set the header."
        ),
    };
    shell::render(StatusCode::FORBIDDEN, &Refused { assets: &ASSETS, text })
}

/// The answer to a request without a valid login. A browser (`return_to` is set) gets the form, and returns
/// to that address after the login. A tool gets a `Basic` challenge.
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
        // For a `Basic` challenge, a browser would open a login window of its own.
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
    with_cookie(console.access.open_session(headers), Redirect::to(address).into_response())
}

/// `answer` with the cookie, if there is one.
fn with_cookie(cookie: Option<HeaderValue>, mut answer: Response) -> Response {
    if let Some(cookie) = cookie {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
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
    let cookie = console.access.close_session(&headers);
    let Some(person) = user::person().filter(|person| person.login == audit::Login::Proxy) else {
        return with_cookie(cookie, Redirect::to("/login").into_response());
    };
    let text = format!(
        "The proxy in front of the console has logged you in as {}, and decides how long. Log out there.",
        person.name
    );
    with_cookie(cookie, shell::message(&console, "", StatusCode::OK, "The proxy keeps you logged in", &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_form_and_its_assets_need_no_login() {
        for path in
            ["/", "/calls", "/events", "/assets/console.js", "/assets/htmx.js", "/login/x", "/overview"]
        {
            assert!(!is_public(path), "{path}");
        }
    }
}
