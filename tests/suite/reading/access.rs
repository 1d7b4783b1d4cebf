//! Who may read calls: tokens, programs on this machine, pages of listed origins. Ids of requests.

use mongodb::bson::doc;
use reqwest::Method;

use super::{CALLS, Read, call, send};
use crate::harness::{CALL_STATUS, LOOKUP, Service, TestStack};

/// The paths of the reading API.
const PATHS: [&str; 4] =
    [CALLS, "/api/agent-calls/c", "/api/agent-calls/c/transcript", "/api/agent-calls/c/audio"];

async fn stack(vars: &[(&str, &str)]) -> TestStack {
    let tokens = [("API_ANONYMOUS", "none"), ("API_TOKEN", "full"), ("API_READ_TOKEN", "read")];
    let setup =
        tokens.iter().fold(TestStack::builder(), |setup, (name, value)| setup.gateway_env(name, value));
    let stack = vars.iter().fold(setup, |setup, (name, value)| setup.gateway_env(name, value)).start().await;
    stack.calls.insert_one(call("c", 0, doc! {})).await.unwrap();
    stack
}

#[tokio::test]
async fn reading_needs_one_of_the_two_tokens() {
    let stack = stack(&[]).await;
    for path in PATHS {
        for method in [Method::GET, Method::HEAD] {
            for (headers, allowed) in [
                (&[][..], false),
                (&[("authorization", "Bearer wrong")], false),
                (&[("authorization", "Bearer read")], true),
                (&[("authorization", "Bearer full")], true),
            ] {
                let answer = send(&stack, method.clone(), path, headers).await;
                let is_allowed =
                    if allowed { [200, 404].contains(&answer.status) } else { answer.status == 401 };
                assert!(is_allowed, "{method} {path} {headers:?}: {}", answer.status);
                assert_eq!(answer.header("www-authenticate"), if allowed { "" } else { "Bearer" });
            }
        }
    }
    let headers = [("authorization", "Bearer read"), ("x-forwarded-for", "9.9.9.9")];
    assert_eq!(send(&stack, Method::GET, CALLS, &headers).await.code(), "untrusted_proxy");
}

#[tokio::test]
async fn a_program_on_this_machine_reads_without_a_token_if_the_gateway_allows_it() {
    let stack = stack(&[("API_ANONYMOUS", "read")]).await;
    for (headers, status) in [
        (&[][..], 200),
        (&[("origin", "https://evil.example")], 401),
        (&[("sec-fetch-site", "cross-site")], 401),
        (&[("host", "evil.example")], 401),
    ] {
        assert_eq!(send(&stack, Method::GET, CALLS, headers).await.status, status, "{headers:?}");
    }
}

/// The CORS headers of an answer.
fn cors(answer: &Read) -> Vec<(String, String)> {
    let headers = answer.headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_with_a_token() {
    let stack = stack(&[("API_CORS_ORIGINS", "https://crm.example, http://localhost:3000")]).await;
    let preflight =
        [("access-control-request-method", "GET"), ("access-control-request-headers", "authorization")];
    for path in PATHS.into_iter().chain([LOOKUP]) {
        for (origin, listed) in [
            ("https://crm.example", true),
            ("http://localhost:3000", true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            let own = [("origin", origin)];
            let asked = send(&stack, Method::OPTIONS, path, &[&own[..], &preflight[..]].concat()).await;
            let allowed = if listed { origin } else { "" };
            assert_eq!(
                (asked.status, asked.header("access-control-allow-origin")),
                (200, allowed),
                "{path} {origin}"
            );
            assert!(asked.header("access-control-allow-headers").contains("authorization"), "{path}");
            assert!(asked.header("access-control-allow-methods").contains("GET"), "{path}");
            // Errors are readable as well, so that a page can show them.
            let refused = send(&stack, Method::GET, path, &own).await;
            assert_eq!(refused.header("access-control-allow-origin"), allowed, "{path} {origin}");
            assert!(refused.status == 401 || path == LOOKUP, "{path}: {}", refused.status);
        }
    }
    let headers = [
        ("origin", "https://crm.example"),
        ("sec-fetch-site", "cross-site"),
        ("authorization", "Bearer read"),
    ];
    let read = send(&stack, Method::GET, CALLS, &headers).await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, "https://crm.example"));
    assert!(read.header("access-control-expose-headers").contains("etag"), "{:?}", cors(&read));
    assert!(read.header("vary").to_lowercase().contains("origin"));
    assert_eq!(read.header("access-control-allow-credentials"), "");
    for (method, path) in [(Method::OPTIONS, CALL_STATUS), (Method::GET, "/other")] {
        let answer = send(&stack, method, path, &[&headers[..], &preflight[..]].concat()).await;
        assert_eq!((answer.status >= 400, cors(&answer)), (true, vec![]), "{path}");
    }
}

#[tokio::test]
async fn no_page_of_another_origin_may_read_by_default() {
    let stack = stack(&[]).await;
    let headers = [("origin", "https://crm.example"), ("access-control-request-method", "GET")];
    let asked = send(&stack, Method::OPTIONS, CALLS, &headers).await;
    assert_eq!((asked.status, cors(&asked)), (204, vec![]));
    let (status, log) =
        Service::run_to_exit("gateway", &[("API_CORS_ORIGINS", "https://crm.example/")]).await;
    assert!(status == Some(78) && log.contains("API_CORS_ORIGINS"), "{log}");
}

#[tokio::test]
async fn every_answer_has_a_request_id_that_the_log_shows() {
    let stack = stack(&[]).await;
    let mut ids = std::collections::BTreeSet::new();
    for (method, path) in [
        (Method::GET, CALLS),
        (Method::HEAD, CALLS),
        (Method::OPTIONS, CALLS),
        (Method::GET, "/other"),
        (Method::DELETE, CALLS),
        (Method::POST, CALL_STATUS),
    ] {
        let answer = send(&stack, method.clone(), path, &[]).await;
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id.len(), 32, "{method} {path}");
        assert!(method == Method::OPTIONS || stack.gateway.log().contains(&id), "{method} {path}: {id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 6, "ids repeat");
    for (given, kept) in
        [("4bf92f35-77b3", true), ("6580000001", false), ("<script>alert(1)</script>", false)]
    {
        let answer = send(&stack, Method::GET, CALLS, &[("x-request-id", given)]).await;
        assert_eq!(answer.header("x-request-id") == given, kept, "{given}");
    }
}
