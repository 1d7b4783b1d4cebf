//! The command `dead-letters`: list, show, replay, drop.

use aftercall_common::contract::streams;
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, TestStack, until_equal};

async fn run(stack: &TestStack, args: &[&str]) -> (Option<i32>, String, String) {
    stack.command(&[&["dead-letters"], args].concat(), &[]).await
}

/// Waits until there are `count` dead letters.
async fn until_dead_letters(stack: &TestStack, count: u64) {
    until_equal("dead letters", count, async || stack.stored(streams::DEAD_LETTERS).await).await;
}

#[tokio::test]
async fn dead_letters_are_listed_shown_redriven_and_dropped() {
    let stack = TestStack::builder().start().await;
    assert_eq!(run(&stack, &["list"]).await.1, "no dead letters\n");
    let unknown = json!({ "type": "call.teleported", "data": { "conversation_id": "conv_1" } });
    stack.webhook(&unknown).await;
    stack.webhook(&json!({ "event_type": "call.busy" })).await;
    until_dead_letters(&stack, 2).await;

    let (_, listed, _) = run(&stack, &["list"]).await;
    assert!(listed.contains("unsupported_event") && listed.contains("call.teleported"), "{listed}");
    let (_, listed, _) = run(&stack, &["list", "--json", "--reason", "unsupported_event"]).await;
    let letter: Value = serde_json::from_str(&listed).unwrap();
    let number = letter["sequence"].to_string();
    assert_eq!((letter["originStream"].as_str(), &letter["originSequence"]), (Some("WEBHOOKS"), &json!(1)));
    let (_, shown, _) = run(&stack, &["show", &number]).await;
    assert!(shown.ends_with(&format!("\n{unknown}\n")), "the body is not the received one: {shown}");
    assert_eq!(run(&stack, &["list", "--until", "1h"]).await.1, "no dead letters\n");
    assert_eq!(run(&stack, &["list"]).await.1.lines().count(), 3, "a heading and two dead letters");

    // The cause is not fixed, so the redriven message becomes a dead letter again.
    let (code, said, stderr) = run(&stack, &["replay", "--all", "--dry-run"]).await;
    assert!(code == Some(0) && said.lines().count() == 2, "{said}{stderr}");
    until_dead_letters(&stack, 2).await;
    let (code, said, stderr) = run(&stack, &["replay", &number]).await;
    assert!(code == Some(0) && said.contains("1 dead letters sent again"), "{said}{stderr}");
    until_dead_letters(&stack, 2).await;
    let message = stack.message(streams::WEBHOOKS, 3).await;
    assert_eq!(message.payload, unknown.to_string().as_bytes());
    assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), "replayed:WEBHOOKS:1:1");
    assert!(message.headers.get(streams::header::DEAD_REASON).is_none());

    let (code, _, stderr) = run(&stack, &["drop", "--all"]).await;
    assert!(code == Some(1) && stderr.contains("--yes"), "{stderr}");
    let (code, _, stderr) = run(&stack, &["drop", "99"]).await;
    assert!(code == Some(1) && stderr.contains("no dead letter number 99"), "{stderr}");
    let (code, _, _) = run(&stack, &["drop"]).await;
    assert_eq!(code, Some(2), "a selector is required");
    let (_, said, _) = run(&stack, &["drop", "--reason", "no_identifier", "--yes"]).await;
    assert!(said.contains("1 dead letters dropped"), "{said}");
    until_dead_letters(&stack, 1).await;
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn redriven_dead_letter_is_applied_once_its_cause_is_fixed() {
    let stack = TestStack::builder().start().await;
    // A dead letter whose body can be processed, as after an upgrade.
    let body = json!({ "event_type": "call.busy", "call_id": "CAd1" }).to_string();
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        (streams::header::DEAD_REASON, "unsupported_event"),
        (streams::header::DEAD_STREAM, "WEBHOOKS"),
        (streams::header::DEAD_SEQUENCE, "77"),
        (streams::header::DEAD_SUBJECT, streams::subject::ELEVENLABS_CALL_STATUS),
        (streams::header::SIGNATURE, "verified"),
    ] {
        headers.insert(name, value);
    }
    let subject = streams::subject::dead_letter("status");
    stack.jetstream.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
    let (code, _, stderr) = run(&stack, &["replay", "--reason", "unsupported_event"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let call = stack.until_call("CAd1", doc! { "status": "busy" }).await;
    let entry = call.get_array("history").unwrap()[0].as_document().unwrap();
    assert_eq!(
        entry.get_str("signature").unwrap(),
        "verified",
        "the headers of the original message are kept"
    );
    until_dead_letters(&stack, 0).await;
    assert_eq!(stack.post_to(CALL_STATUS, "{}").await.status, 200);
}

#[tokio::test]
async fn dead_letter_with_a_foreign_subject_is_not_redriven() {
    let stack = TestStack::builder().start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "CAkept" })).await;
    stack.until_call("CAkept", doc! {}).await;
    letter(&stack, "$JS.API.STREAM.PURGE.WEBHOOKS", "1", "CAsent").await;
    letter(&stack, "agent-calls.place", "2", "CAsent").await;
    letter(&stack, streams::subject::ELEVENLABS_CALL_STATUS, "3", "CAsent").await;

    let (code, _, stderr) = run(&stack, &["replay", "--all", "--dry-run"]).await;
    assert!(code == Some(1) && stderr.contains("$JS.API.STREAM.PURGE.WEBHOOKS"), "{stderr}");
    let (code, said, stderr) = run(&stack, &["replay", "--all"]).await;
    assert!(code == Some(1) && said.contains("1 dead letters sent again"), "{said}{stderr}");
    assert!(
        stderr.contains("dead letter 1 is not sent again") && stderr.contains("dead letter 2"),
        "{stderr}"
    );
    stack.until_call("CAsent", doc! { "status": "busy" }).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2, "nothing was purged");
    let sent = stack.message(streams::WEBHOOKS, 2).await;
    assert!(sent.headers.get("X-Nats-Rollup").is_none(), "foreign headers are removed");
    until_dead_letters(&stack, 2).await;
}

#[tokio::test]
async fn letters_of_a_lost_stream_that_have_the_same_origin_are_all_sent() {
    let stack = TestStack::start().await;
    // A stream that was lost and created again begins with the same sequences.
    for call in ["CAbefore", "CAafter"] {
        letter(&stack, streams::subject::ELEVENLABS_CALL_STATUS, "1", call).await;
    }
    let (code, said, stderr) = run(&stack, &["replay", "--all"]).await;
    assert!(code == Some(0) && said.contains("2 dead letters sent again"), "{said}{stderr}");
    for call in ["CAbefore", "CAafter"] {
        stack.until_call(call, doc! { "status": "busy" }).await;
    }
}

/// Publishes a dead letter about `call` that came from `subject` and this sequence of the stream of webhooks.
async fn letter(stack: &TestStack, subject: &str, sequence: &str, call: &str) {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        (streams::header::DEAD_REASON, "unsupported_event"),
        (streams::header::DEAD_STREAM, "WEBHOOKS"),
        (streams::header::DEAD_SEQUENCE, sequence),
        (streams::header::DEAD_SUBJECT, subject),
        ("X-Nats-Rollup", "all"),
    ] {
        headers.insert(name, value);
    }
    let body = json!({ "event_type": "call.busy", "call_id": call }).to_string();
    let subject = streams::subject::dead_letter("status");
    stack.jetstream.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
}
