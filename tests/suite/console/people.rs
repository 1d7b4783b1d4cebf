//! People whom a reverse proxy names, and what the audit keeps of their actions.

use std::time::Duration;

use aftercall_common::contract::streams;
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use reqwest::{RequestBuilder, Response};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{ConsoleStack, TOKEN, browser::with_browser, setup, start};
use crate::harness::until_equal;

const HEADER: &str = "X-Forwarded-User";

/// A console behind a proxy with the address `proxies`.
async fn behind(proxies: &str) -> ConsoleStack {
    let (setup, console) = setup();
    let setup =
        setup.worker_env("CONSOLE_USER_HEADER", HEADER).worker_env("CONSOLE_TRUSTED_PROXIES", proxies);
    ConsoleStack { stack: setup.start().await, console }
}

impl ConsoleStack {
    fn bare(&self, path: &str) -> RequestBuilder {
        self.stack.http.get(format!("{}{path}", self.console))
    }

    /// A form that a browser sends from a page of the console.
    fn form(&self, path: &str, body: &str) -> RequestBuilder {
        let request = self.stack.http.post(format!("{}{path}", self.console)).body(body.to_owned());
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
    }

    fn audit_collection(&self) -> Collection<Document> {
        let calls = &self.stack.calls;
        calls.client().database(&calls.namespace().db).collection("console_audit")
    }

    /// The stored audit: person, login, action, object.
    async fn audit(&self) -> Vec<[String; 4]> {
        let audit = self.audit_collection();
        let mut found = audit.find(doc! {}).sort(doc! { "at": 1, "_id": 1 }).await.unwrap();
        let mut entries = Vec::new();
        while found.advance().await.unwrap() {
            let entry = found.deserialize_current().unwrap();
            entries.push(
                ["by", "login", "action", "object"].map(|name| entry.get_str(name).unwrap().to_owned()),
            );
        }
        entries
    }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn has_cookie(answer: &Response) -> bool {
    answer.headers().contains_key("set-cookie")
}

#[tokio::test]
async fn a_trusted_proxy_names_the_person_in_the_head_of_every_page() {
    let shown = behind("127.0.0.0/8").await;
    let page = shown.bare("/calls").header(HEADER, "Ana <b>").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(!has_cookie(&page), "the proxy names the person in each request");
    let page = page.text().await.unwrap();
    assert!(page.contains("<bdi>Ana &#60;b&#62;</bdi>"), "{page}");

    // A request without the header needs the shared login, and shows its name.
    assert_eq!(status(shown.bare("/calls")).await, 401);
    assert_eq!(status(shown.bare("/calls").header("X-Forwarded-Users", "ana")).await, 401);
    assert!(shown.page("/calls").await.1.contains("<bdi>operator</bdi>"));
    for bad in ["", " ", &"x".repeat(129), "an\u{e9}\u{80}"] {
        for path in ["/calls", "/login", "/logout", "/events", "/?token=token-of-the-tests"] {
            let answer = shown.bare(path).header(HEADER, bad).bearer_auth(TOKEN).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path} {bad:?}");
            assert!(!has_cookie(&answer), "{path}");
            let page = answer.text().await.unwrap();
            assert!(page.contains("The proxy named no user") && page.contains("x-forwarded-user"), "{page}");
        }
        assert_eq!(status(shown.bare("/assets/console.css").header(HEADER, bad)).await, 200);
    }
    let twice = shown.bare("/calls").header(HEADER, "mallory").header(HEADER, "ana");
    assert_eq!(status(twice).await, 403);

    // Pages of other sites cannot use the login of the proxy.
    let foreign = shown.stack.http.post(format!("{}/logout", shown.console)).header(HEADER, "ana");
    assert_eq!(status(foreign.header("sec-fetch-site", "cross-site")).await, 403);
    let foreign = shown.stack.http.post(format!("{}/dead-letters/1/drop", shown.console));
    assert_eq!(status(foreign.header(HEADER, "ana").header("origin", "https://evil.example")).await, 403);

    let log = shown.stack.workers[0].log();
    assert_eq!(log.matches("named no user").count(), 1, "one line a minute for each proxy");
    let out = shown.form("/logout", "").header(HEADER, "ana").send().await.unwrap();
    assert_eq!(out.status(), 200);
    let out = out.text().await.unwrap();
    assert!(out.contains("logged you in as ana") && out.contains("Log out there"), "{out}");
}

#[tokio::test]
async fn the_header_of_another_peer_logs_nobody_in() {
    let shown = behind("192.0.2.7").await;
    for name in ["ana", "", "operator"] {
        for path in ["/calls", "/events", "/audit", "/dead-letters"] {
            assert_eq!(status(shown.bare(path).header(HEADER, name)).await, 401, "{path} {name:?}");
        }
        let forwarded = shown.bare("/calls").header(HEADER, name).header("x-forwarded-for", "192.0.2.7");
        assert_eq!(status(forwarded).await, 401);
    }
    let page = shown.get("/calls").header(HEADER, "ana").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<bdi>operator</bdi>") && !page.contains("ana</bdi>"), "the header is ignored");
}

#[tokio::test]
async fn without_a_shared_login_only_the_proxy_logs_in() {
    let (setup, console) = setup();
    let setup = setup
        .worker_env("CONSOLE_TOKEN", "")
        .worker_env("CONSOLE_USER_HEADER", HEADER)
        .worker_env("CONSOLE_TRUSTED_PROXIES", "127.0.0.1");
    let shown = ConsoleStack { stack: setup.start().await, console };
    assert_eq!(status(shown.bare("/calls").header(HEADER, "ana")).await, 200);
    for path in ["/calls", "/login", "/?token="] {
        assert_eq!(status(shown.bare(path)).await, 403, "{path}");
    }
    assert_eq!(status(shown.bare("/calls").bearer_auth("")).await, 403);
}

#[tokio::test]
async fn logging_out_ends_the_session_of_the_browser() {
    with_browser(async |browser| {
        let shown = start(Duration::from_millis(50)).await;
        browser.open(&shown.link()).await;
        browser.read("#person", "operator").await;
        browser.click(".leave button").await;
        browser.see("#secret").await;
        browser.open(&format!("{}/calls", shown.console)).await;
        browser.see("#secret").await;
    })
    .await;
}

#[tokio::test]
async fn every_change_leaves_a_line_of_the_audit_without_numbers_and_bodies() {
    let shown = behind("127.0.0.0/8").await;
    let stack = &shown.stack;
    for call in ["CA+6581234567", "CAsecond"] {
        stack.webhook(&json!({ "event_type": "call.teleported", "call_id": call, "note": "my words" })).await;
    }
    stack.webhook(&json!({ "event_type": "call.teleported", "call_id": "CAthird" })).await;
    until_equal("dead letters", 3, async || stack.stored("DEAD_LETTERS").await).await;
    let ana = |request: RequestBuilder| request.header(HEADER, "ana");
    assert_eq!(status(ana(shown.bare("/dead-letters/1"))).await, 200, "numbers are masked here");
    assert_eq!(status(ana(shown.bare("/dead-letters/1/edit"))).await, 200);
    let edit = "body=%7B%22event_type%22%3A%22call.busy%22%2C%22call_id%22%3A%22CAsecond%22%7D";
    assert_eq!(status(ana(shown.form("/dead-letters/1/replay", edit))).await, 200);
    assert_eq!(shown.post("/dead-letters/2/replay", "").await.0, 200);
    assert_eq!(shown.post("/dead-letters/3/drop", "").await.0, 200);
    assert_eq!(shown.post("/dead-letters/3/drop", "").await.0, 404, "what did not happen leaves no line");
    let id = "ep_0123456789abcdef";
    let added =
        format!("id={id}&kind=events&url=https%3A%2F%2Fhooks.example.com%2Ft0ken&types=call.status&since=");
    let added = ana(shown.form("/endpoints", &added)).send().await.unwrap();
    let (code, page) = (added.status(), added.text().await.unwrap());
    assert_eq!(code, 200, "{page}");
    for (action, form) in [("filter", "types=call.outcome"), ("pause", ""), ("resume", ""), ("remove", "")] {
        assert_eq!(
            status(ana(shown.form(&format!("/endpoints/{id}/{action}"), form))).await,
            200,
            "{action}"
        );
    }
    let line =
        |by: &str, login: &str, action: &str, object: &str| [by, login, action, object].map(str::to_owned);
    let expected = [
        line("ana", "proxy", "reveal_numbers", "1"),
        line("ana", "proxy", "edit_dead_letter", "1"),
        line("operator", "shared", "replay_dead_letter", "2"),
        line("operator", "shared", "delete_dead_letter", "3"),
        line("ana", "proxy", "add_endpoint", id),
        line("ana", "proxy", "change_filter", id),
        line("ana", "proxy", "pause_endpoint", id),
        line("ana", "proxy", "resume_endpoint", id),
        line("ana", "proxy", "remove_endpoint", id),
    ];
    assert_eq!(shown.audit().await, expected);
    let page = ana(shown.bare("/audit")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("edited and sent again") && page.contains("shared login"), "{page}");
    let log = stack.workers[0].log();
    assert_eq!(log.matches("action in the console").count(), expected.len(), "{log}");
    for hidden in ["6581234567", "my words", "t0ken"] {
        assert!(!log.contains(hidden) && !page.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn an_action_whose_client_goes_away_is_done_and_recorded_or_not_done() {
    const LETTERS: u64 = 60;
    let shown = start(Duration::from_millis(50)).await;
    for n in 0..LETTERS {
        shown.stack.webhook(&json!({ "event_type": "call.bussy", "call_id": format!("CA{n}") })).await;
    }
    until_equal("dead letters", LETTERS, async || shown.stack.stored(streams::DEAD_LETTERS).await).await;
    let address = shown.console.trim_start_matches("http://");
    for n in 1..=LETTERS {
        let request = format!(
            "POST /dead-letters/{n}/drop HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: 0\r\n\r\n"
        );
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(n % 12 * 500)).await;
        drop(socket);
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // The last actions may still run.
    let unrecorded = async || {
        let left = shown.stack.stored(streams::DEAD_LETTERS).await;
        let audit = shown.audit_collection();
        let recorded = audit.count_documents(doc! { "action": "delete_dead_letter" }).await.unwrap();
        LETTERS.checked_signed_diff(left + recorded).unwrap()
    };
    until_equal("deletions without an entry", 0, unrecorded).await;
    assert!(shown.stack.stored(streams::DEAD_LETTERS).await < LETTERS, "some were deleted");
}

#[tokio::test]
async fn the_audit_has_pages() {
    let shown = start(Duration::from_millis(50)).await;
    let entries = (0..250_i64).map(|n| {
        doc! {
            // Several entries have the same time.
            "at": mongodb::bson::DateTime::from_millis(1_790_000_000_000 + n / 7 * 1000), "by": "ana",
            "login": "proxy", "action": "pause_endpoint", "kind": "endpoint", "object": format!("ep_{n}"),
        }
    });
    let audit = shown.audit_collection();
    audit.insert_many(entries).await.unwrap();
    let (mut next, mut seen) = ("/audit".to_owned(), Vec::new());
    loop {
        let (status, page) = shown.page(&next).await;
        assert_eq!(status, 200);
        seen.extend(page.split("endpoint ep_").skip(1).map(|row| row[..row.find('<').unwrap()].to_owned()));
        let Some(older) = page.split("rel=\"next\" href=\"").nth(1) else { break };
        next = older[..older.find('"').unwrap()].to_owned();
    }
    let expected: Vec<_> = (0..250).rev().map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
    for path in [
        "/audit?before=nonsense",
        "/audit?older=1",
        "/dead-letters?before=abc",
        "/overview?window=zz",
        "/overview?sort=zz",
        "/deliveries?state=failed&state=waiting",
    ] {
        let (status, page) = shown.page(path).await;
        assert!(status == 422, "what cannot be read is not ignored: {path} {page}");
    }
    assert_eq!(shown.page("/deliveries?before=zz").await.0, 404);
}
