//! Who gets in, and what a foreign page can do.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};

use super::{Shown, browser::with_browser, setup, start};
use crate::harness::Service;

const PASSWORD: &str = "correct horse battery";
const TOKEN: &str = "0123456789abcdef";

async fn locked() -> Shown {
    let (setup, console) = setup();
    let setup = setup.worker_env("CONSOLE_PASSWORD", PASSWORD).worker_env("CONSOLE_TOKEN", TOKEN);
    Shown { stack: setup.start().await, console }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn with_a_login_only_who_has_it_gets_in() {
    let shown = locked().await;
    let get = |path: &str| shown.stack.http.get(format!("{}{path}", shown.console));
    for path in ["/calls", "/events", "/assets/console.js", "/nowhere"] {
        let answer = get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"), "{path}");
    }
    assert_eq!(status(get("/calls").basic_auth("operator", Some("wrong horse battery"))).await, 401);
    assert_eq!(status(get("/calls").basic_auth("root", Some(PASSWORD))).await, 401);
    assert_eq!(status(get("/calls").bearer_auth("0123456789abcdeg")).await, 401);
    assert_eq!(status(get("/calls").basic_auth("operator", Some(PASSWORD))).await, 200);
    assert_eq!(status(get("/calls").bearer_auth(TOKEN)).await, 200);
    let log = shown.stack.workers[0].log();
    assert!(log.contains("wrong login") && !log.contains("horse") && !log.contains(TOKEN), "{log}");
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_and_frames_nothing() {
    let shown = start(Duration::from_millis(50)).await;
    let post = || shown.stack.http.post(format!("{}/dead-letters/1/drop", shown.console));
    assert_eq!(status(post()).await, 403, "says nothing of where it comes from");
    assert_eq!(status(post().header("origin", "https://evil.example")).await, 403);
    assert_eq!(
        status(post().header("sec-fetch-site", "cross-site").header("origin", &shown.console)).await,
        403
    );
    assert_eq!(status(post().header("sec-fetch-site", "same-origin")).await, 404, "there is no such letter");
    assert_eq!(status(post().header("origin", &shown.console)).await, 404);

    let get =
        |host: &str| shown.stack.http.get(format!("{}/calls", shown.console)).header("host", host.to_owned());
    assert_eq!(status(get("evil.example")).await, 421, "a name that leads here is not ours");
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
        "nothing inline"
    );
    assert!(!page.contains("https://") && !page.contains("src=\"//"), "nothing from elsewhere");
}

#[tokio::test]
async fn beyond_this_machine_it_does_not_start_without_a_login() {
    let vars = [("ROLES", "console"), ("CONSOLE_ADDR", "0.0.0.0:0")];
    let (code, log) = Service::exit("worker", &vars).await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("CONSOLE_ADDR") && log.contains("CONSOLE_PASSWORD"), "{log}");
}

#[tokio::test]
async fn a_browser_with_the_login_sees_live_pages_and_one_without_sees_none() {
    with_browser(async |browser| {
        let shown = locked().await;
        // The browser asks for a login, and for another one after a wrong one; behind it there is nothing.
        let wrong = shown.console.replace("http://", "http://operator:wrong-horse@");
        for console in [&shown.console, &wrong] {
            browser.open(&format!("{console}/calls")).await;
            assert_eq!(browser.eval("document.body.innerText.trim()").await, "");
            assert_eq!(browser.count("h1, tr, link, script").await, 0);
        }
        let right =
            shown.console.replace("http://", &format!("http://operator:{}@", PASSWORD.replace(' ', "%20")));
        browser.open(&format!("{right}/calls")).await;
        browser.open_live(&format!("{}/calls", shown.console)).await;
        browser.read("h1", "Calls").await;
    })
    .await;
}
