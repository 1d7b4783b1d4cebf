//! The login of the console, its sessions, and requests from foreign pages.

use std::time::Duration;

use aftercall_local::http_client_builder;
use reqwest::{RequestBuilder, Response, StatusCode, redirect::Policy};

use super::{ConsoleStack, TOKEN, browser::with_browser, event, setup, start};
use crate::harness::{Service, exchange, recently, test_timeout, until, within};

const PASSWORD: &str = "correct horse battery";

/// A console with a password.
async fn locked() -> ConsoleStack {
    let (setup, console) = setup();
    ConsoleStack { stack: setup.worker_env("CONSOLE_PASSWORD", PASSWORD).start().await, console }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// A client that does not follow redirects, with the user agent of a browser.
fn browser() -> reqwest::Client {
    let builder =
        http_client_builder(test_timeout()).redirect(Policy::none()).user_agent("Mozilla/5.0 (test)");
    builder.build().unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// The cookie of a session that the login link opens.
async fn session(shown: &ConsoleStack) -> String {
    let answer = browser().get(shown.link()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    header(&answer, "set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn every_page_requires_the_login() {
    let shown = locked().await;
    let get = |path: &str| shown.stack.http.get(format!("{}{path}", shown.console));
    for path in ["/", "/calls", "/events", "/assets/console.js", "/nowhere", "/dead-letters/1"] {
        let answer = get(path).header("x-forwarded-for", "127.0.0.1").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(header(&answer, "www-authenticate").starts_with("Basic"), "{path}");
    }
    assert_eq!(status(get("/assets/console.css")).await, 200, "the login form needs the style sheet");
    assert_eq!(status(get("/calls").basic_auth("operator", Some("wrong horse battery"))).await, 401);
    assert_eq!(status(get("/calls").basic_auth("root", Some(PASSWORD))).await, 401);
    assert_eq!(status(get("/calls").bearer_auth("0123456789abcdeg")).await, 401);
    assert_eq!(status(get("/calls").basic_auth("operator", Some(PASSWORD))).await, 200);
    assert_eq!(status(get("/calls").bearer_auth(TOKEN)).await, 200);
    let log = shown.stack.workers[0].log();
    assert!(log.contains("wrong login") && !log.contains("horse") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn login_link_opens_a_session_and_redirects_without_the_token() {
    let shown = locked().await;
    let browser = browser();
    let get = |path: &str| browser.get(format!("{}{path}", shown.console));
    let answer = get(&format!("/calls?status=busy&token={TOKEN}")).send().await.unwrap();
    assert_eq!((answer.status(), header(&answer, "location")), (StatusCode::SEE_OTHER, "/calls?status=busy"));
    assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let cookie = header(&answer, "set-cookie").to_owned();
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(TOKEN), "{cookie}");
    let by_https = get(&format!("/?token={TOKEN}")).header("x-forwarded-proto", "https");
    assert!(header(&by_https.send().await.unwrap(), "set-cookie").ends_with("; Secure"));

    let pair = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(status(get("/calls").header("cookie", &pair)).await, 200);
    assert_eq!(status(get("/calls").header("cookie", format!("a=b; {pair}; c=d"))).await, 200);
    for forged in [pair.replace('=', "=9"), format!("{pair}x"), pair.replace("aftercall", "x")] {
        assert_eq!(status(get("/calls").header("cookie", &forged)).await, 401, "{forged}");
    }
    // A link to another host, an old link with and without a session.
    let away = get(&format!("/login?next=//evil.example/&token={TOKEN}")).send().await.unwrap();
    assert_eq!(header(&away, "location"), "/calls");
    let old = get("/?token=of-yesterday").header("cookie", &pair).send().await.unwrap();
    assert_eq!((old.status(), header(&old, "location")), (StatusCode::SEE_OTHER, "/"));
    let wrong = get("/?token=of-yesterday").send().await.unwrap();
    assert_eq!((wrong.status(), header(&wrong, "set-cookie")), (StatusCode::UNAUTHORIZED, ""));
    assert!(!wrong.text().await.unwrap().contains("of-yesterday"));

    let out = browser.post(format!("{}/logout", shown.console)).header("cookie", &pair);
    let out = out.header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!((out.status(), header(&out, "location")), (StatusCode::SEE_OTHER, "/login"));
    assert!(header(&out, "set-cookie").contains("=; Path=/; Max-Age=0"));
    assert!(!shown.stack.workers[0].log().contains(TOKEN));
}

#[tokio::test]
async fn login_form_opens_a_session() {
    let shown = locked().await;
    let browser = browser();
    let page = browser.get(format!("{}/calls?status=busy", shown.console)).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
    assert!(
        header(&page, "www-authenticate").starts_with("Bearer"),
        "the browser must not open its own dialog"
    );
    assert!(header(&page, "content-security-policy").contains("form-action 'self'"));
    let page = page.text().await.unwrap();
    assert!(page.contains(r#"action="/login""#) && page.contains("/calls?status=busy"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("https://") && page.contains("<label for=\"secret\">")
    );

    let form = |secret: &str, next: &str| {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("secret", secret), ("next", next)])
            .finish();
        let post = browser.post(format!("{}/login", shown.console)).body(body);
        post.header("content-type", "application/x-www-form-urlencoded")
    };
    let own = |request: RequestBuilder| request.header("origin", &shown.console);
    for (secret, next, location) in
        [(PASSWORD, "/calls?status=busy", "/calls?status=busy"), (TOKEN, "https://evil.example/", "/calls")]
    {
        let answer = own(form(secret, next)).send().await.unwrap();
        assert_eq!((answer.status(), header(&answer, "location")), (StatusCode::SEE_OTHER, location));
        let cookie = header(&answer, "set-cookie").split(';').next().unwrap().to_owned();
        assert_eq!(
            status(browser.get(format!("{}/calls", shown.console)).header("cookie", cookie)).await,
            200
        );
    }
    assert_eq!(status(own(form("wrong horse battery", "/"))).await, 401);
    assert_eq!(status(form(PASSWORD, "/")).await, 403, "a request without Origin is refused");
    assert_eq!(status(form(PASSWORD, "/").header("sec-fetch-site", "cross-site")).await, 403);
}

#[tokio::test]
async fn wrong_logins_are_delayed_and_sessions_are_not() {
    let shown = locked().await;
    let cookie = session(&shown).await;
    let get = || shown.stack.http.get(format!("{}/calls", shown.console));
    for _ in 0..5 {
        assert_eq!(status(get().bearer_auth("wrong-wrong-wrong")).await, 401);
    }
    let refused = get().bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "the right token is delayed, too");
    assert_eq!(header(&refused, "retry-after"), "1");
    let form = browser().get(shown.link()).send().await.unwrap();
    assert_eq!((form.status(), header(&form, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert!(form.text().await.unwrap().contains("Too many wrong logins"));
    assert_eq!(status(get().header("cookie", &cookie)).await, 200, "a session is not delayed");
    // Another client of the same proxy is not delayed, and neither are requests without a login.
    assert_eq!(status(get().bearer_auth(TOKEN).header("x-forwarded-for", "203.0.113.9")).await, 200);
    assert_eq!(status(get()).await, 401);
    until("the delay ends", async || (status(get().bearer_auth(TOKEN)).await == 200).then_some(())).await;

    let metrics = shown.stack.workers[0].metrics(&shown.stack.http).await;
    for (outcome, count) in [("wrong", 5), ("opened", 1)] {
        let line = format!("aftercall_console_logins_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let log = shown.stack.workers[0].log();
    assert_eq!(
        log.matches("wrong login at the console").count(),
        1,
        "a wrong login is logged once a minute: {log}"
    );
}

#[tokio::test]
async fn one_session_has_a_limited_number_of_event_streams() {
    let shown = locked().await;
    let (one, other) = (session(&shown).await, session(&shown).await);
    let stream =
        |cookie: &str| shown.stack.http.get(format!("{}/events", shown.console)).header("cookie", cookie);
    let mut open = Vec::new();
    for _ in 0..16 {
        let answer = stream(&one).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    let refused = stream(&one).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().await.unwrap().contains("16 pages of this login"));
    assert_eq!(stream(&other).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(status(shown.get("/calls")).await, 200, "the limit does not apply to pages");
    drop(open.pop());
    until("a closed stream no longer counts", async || {
        (stream(&one).send().await.unwrap().status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn foreign_page_can_neither_post_nor_frame() {
    let shown = start(Duration::from_millis(50)).await;
    let cookie = session(&shown).await;
    let post =
        || shown.stack.http.post(format!("{}/dead-letters/1/drop", shown.console)).header("cookie", &cookie);
    assert_eq!(status(post()).await, 403, "a request without Origin is refused");
    assert_eq!(status(post().header("origin", "https://evil.example")).await, 403);
    assert_eq!(
        status(post().header("sec-fetch-site", "cross-site").header("origin", &shown.console)).await,
        403
    );
    assert_eq!(
        status(post().header("sec-fetch-site", "same-origin")).await,
        404,
        "there is no such dead letter"
    );
    assert_eq!(status(post().header("origin", &shown.console)).await, 404);
    let log_out = shown.stack.http.post(format!("{}/logout", shown.console)).header("cookie", &cookie);
    assert_eq!(status(log_out.header("origin", "https://evil.example")).await, 403);

    let get = |host: &str| {
        let request = shown.stack.http.get(format!("{}/calls", shown.console)).header("cookie", &cookie);
        request.header("host", host.to_owned())
    };
    let rebound = shown.stack.http.get(format!("{}/calls", shown.console)).header("host", "evil.example");
    assert_eq!(status(rebound).await, 401, "a foreign host name requires a login");
    let answer = get("localhost").send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{policy}");
    assert_eq!(
        (header("referrer-policy"), header("cache-control")),
        ("no-referrer".to_owned(), "no-store".to_owned())
    );
    let page = answer.text().await.unwrap();
    assert!(
        !page.contains("style=\"") && !page.contains("<script>") && !page.contains(" onclick"),
        "the page contains inline scripts or styles"
    );
    assert!(!page.contains("https://") && !page.contains("src=\"//"), "the page loads files of other hosts");
}

#[tokio::test]
async fn a_copied_cookie_and_its_streams_end_with_the_logout() {
    let shown = locked().await;
    let (cookie, other) = (session(&shown).await, session(&shown).await);
    let get = |path: &str, cookie: &str| {
        browser().get(format!("{}{path}", shown.console)).header("cookie", cookie.to_owned())
    };
    let mut stream = get("/events?topic=calls", &cookie).send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let out = browser().post(format!("{}/logout", shown.console)).header("cookie", &cookie);
    assert_eq!(status(out.header("sec-fetch-site", "same-origin")).await, 303);
    assert_eq!(status(get("/calls", &cookie)).await, 401);
    assert_eq!(status(get("/calls", &other)).await, 200, "another session goes on");
    shown.stack.webhook(&event("CAafter", "busy", recently())).await;
    let rest = async {
        let mut rest = Vec::new();
        while let Some(chunk) = stream.chunk().await.unwrap() {
            rest.extend_from_slice(&chunk);
        }
        String::from_utf8(rest).unwrap()
    };
    let rest = within("the stream ends", rest).await;
    assert!(!rest.contains("CAafter"), "{rest}");
}

#[tokio::test]
async fn a_login_form_is_small_and_does_not_keep_a_connection() {
    let shown = locked().await;
    let large = format!("secret={}", "x".repeat(9000));
    let post = browser().post(format!("{}/login", shown.console)).header("origin", &shown.console);
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(large);
    assert_eq!(status(post).await, 413);
    // A form that does not come completely.
    let address = shown.console.trim_start_matches("http://");
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\norigin: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 4000000\r\n\r\nsecret=",
        shown.console
    );
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let answer = exchange(&mut socket, head.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn console_without_a_login_does_not_start() {
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let vars = [("ROLES", "console"), ("CONSOLE_ADDR", address)];
        let (code, log) = Service::run_to_exit("worker", &vars).await;
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("CONSOLE_TOKEN") && log.contains("CONSOLE_PASSWORD"), "{log}");
    }
}

#[tokio::test]
async fn browser_sees_the_login_form_until_it_logs_in() {
    with_browser(async |browser| {
        let shown = locked().await;
        browser.open(&format!("{}/calls?status=busy", shown.console)).await;
        browser.read("h1", "Log in").await;
        assert_eq!(browser.count("tr, script, nav").await, 0, "the login page shows nothing else");
        browser.fill("#secret", "wrong horse battery").await;
        browser.click("button[type=submit]").await;
        browser.read("#problem", "neither the password nor the token").await;
        browser.fill("#secret", PASSWORD).await;
        browser.click("button[type=submit]").await;
        browser.read("h1", "Calls").await;
        assert_eq!(browser.address().await, "/calls?status=busy");
        browser.until_live().await;
        browser.click(".leave button").await;
        browser.read("h1", "Log in").await;
        browser.open(&shown.link()).await;
        browser.read("h1", "Calls").await;
        assert_eq!(browser.address().await, "/calls", "the address contains the token");
        browser.until_live().await;
    })
    .await;
}
