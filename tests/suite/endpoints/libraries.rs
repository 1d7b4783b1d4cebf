//! The official libraries of the Standard Webhooks specification accept every request.

use serde_json::{Value, json};

use super::{Receiver, add, json_lines, publish, receiver::Received, stack};
use crate::harness::{node, python, until_equal};

const PYTHON: &str = include_str!("../python/standardwebhooks.py");
const NODE: &str = include_str!("../node/standardwebhooks.mjs");

/// The request as a line for the scripts, to be checked with `secret`.
fn line(received: &Received, secret: &str) -> String {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Value =
        names.into_iter().map(|name| (name.to_owned(), json!(received.header(name)))).collect();
    let body = std::str::from_utf8(&received.body).unwrap();
    json!({ "secret": secret, "headers": headers, "body": body }).to_string()
}

/// Whether the libraries of Rust, Python and JavaScript accept each request with each secret.
async fn verdicts(checks: &[(&Received, &str)]) -> [Vec<bool>; 3] {
    let rust = |&(received, secret): &(&Received, &str)| {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        webhook.verify(&received.body, &received.headers).is_ok()
    };
    let lines: Vec<_> = checks.iter().map(|(received, secret)| line(received, secret)).collect();
    let input = lines.join("\n");
    let read = |printed: String| printed.lines().map(|line| line == "accepted").collect();
    [
        checks.iter().map(rust).collect(),
        read(python::run_with(&python::WEBHOOKS, PYTHON, &[], input.as_bytes()).await),
        read(node::run(NODE, input.as_bytes()).await),
    ]
}

#[tokio::test]
async fn official_libraries_of_three_languages_accept_every_request() {
    const EVENTS: usize = 1000;
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (_, secret) = add(&stack, &receiver.url("/"), &[]).await;
    for n in 0..EVENTS {
        // Texts of every kind, because a signature covers the bytes.
        let summary = format!("„{n}“ 👋 \u{2028} \\ \" \u{7f}");
        publish(&stack, "call.status", &format!("CA{n}"), 1, json!({ "summary": summary })).await;
    }
    until_equal("requests", EVENTS, async || receiver.received().len()).await;
    let requests = receiver.received();
    assert!(requests.iter().all(|request| request.header("content-type") == "application/json"));
    let checks: Vec<_> = requests.iter().map(|request| (request, secret.as_str())).collect();
    for verdicts in verdicts(&checks).await {
        assert_eq!(verdicts, vec![true; EVENTS]);
    }
    // The checks do refuse: another secret, another body, another id.
    let other = format!("whsec_{}", "A".repeat(44));
    let body = Received { body: requests[1].body.clone(), ..requests[0].clone() };
    let mut id = requests[0].clone();
    id.headers.insert("webhook-id", "other".parse().unwrap());
    let wrong = [(&requests[0], other.as_str()), (&body, &secret), (&id, &secret)];
    for verdicts in verdicts(&wrong).await {
        assert_eq!(verdicts, [false, false, false]);
    }
}

#[tokio::test]
async fn after_a_rotation_requests_are_signed_by_both_secrets_until_the_overlap_ends() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, old) = add(&stack, &receiver.url("/"), &[]).await;
    let rotated = json_lines(&stack, &["endpoints", "rotate", &endpoint, "--json"]).await;
    let new = rotated[0]["secret"].as_str().unwrap().to_owned();
    publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_equal("requests", 1, async || receiver.received().len()).await;
    // Without an overlap the older secrets end at once.
    let last = json_lines(&stack, &["endpoints", "rotate", &endpoint, "--overlap", "0s", "--json"]).await;
    let last = last[0]["secret"].as_str().unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await; // Workers read endpoints every two seconds.
    publish(&stack, "call.status", "CA2", 1, json!({})).await;
    until_equal("requests", 2, async || receiver.received().len()).await;
    let requests = receiver.received();
    let checks = [
        (&requests[0], old.as_str()),
        (&requests[0], &new),
        (&requests[1], &old),
        (&requests[1], &new),
        (&requests[1], &last),
    ];
    for verdicts in verdicts(&checks).await {
        assert_eq!(verdicts, [true, true, false, false, true]);
    }
}
