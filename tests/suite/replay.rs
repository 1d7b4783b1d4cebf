//! The command `replay`: it applies stored webhooks again.

use aftercall_common::contract::streams;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::harness::{TestStack, recently};

async fn documents(stack: &TestStack) -> Vec<Document> {
    let found = stack.calls.find(doc! {}).projection(doc! { "_id": 0 }).sort(doc! { "callId": 1 });
    found.await.unwrap().try_collect().await.unwrap()
}

/// The documents without their revisions. A call that was restored has a new one.
async fn facts(stack: &TestStack) -> Vec<Document> {
    let mut documents = documents(stack).await;
    for document in &mut documents {
        assert!(document.remove("revision").is_some(), "{document}");
    }
    documents
}

async fn replay(stack: &TestStack, args: &[&str]) -> String {
    let (code, said, stderr) = stack.command(&[&["replay"], args].concat(), &[]).await;
    assert_eq!(code, Some(0), "{said}{stderr}");
    said
}

#[tokio::test]
async fn replay_restores_missing_calls_and_changes_no_others() {
    let stack = TestStack::start().await;
    for n in 0..10 {
        for (event, at) in [("call.initiated", 0), ("call.ringing", 1), ("call.busy", 2)] {
            let mut body = json!({
                "event_type": event, "call_id": format!("c{n}"), "timestamp": recently() + at,
                "to_number": "+12025550100",
            });
            // Some events name the call alone.
            if event != "call.ringing" {
                body["conversation_id"] = format!("conv_{n}").into();
            }
            stack.webhook(&body).await;
        }
    }
    stack.webhook(&json!({ "event_type": "call.busy" })).await;
    stack.all_acknowledged().await;
    let (intact, intact_facts) = (documents(&stack).await, facts(&stack).await);
    assert_eq!(intact.len(), 10);

    let said = replay(&stack, &["--dry-run"]).await;
    assert_eq!(said, "30 webhooks would be applied: 0 calls created, 0 changed, 0 merged; 1 unreadable\n");
    assert_eq!(replay(&stack, &[]).await, "30 webhooks applied, 1 unreadable\n");
    assert_eq!(documents(&stack).await, intact);

    // Two calls are missing, as after a restore from a backup.
    stack.calls.delete_many(doc! { "callId": { "$in": ["c1", "c2"] } }).await.unwrap();
    let said = replay(&stack, &["--call-id", "c2", "--event-type", "call.initiated"]).await;
    assert_eq!(said, "1 webhooks applied, 1 unreadable\n");
    stack.until_call("c2", doc! { "status": "initiated" }).await;
    let said = replay(&stack, &["--dry-run", "--since", "1h"]).await;
    assert!(said.contains("c1: would be created\n"), "{said}");
    assert!(said.contains(", status initiated → busy"), "{said}");
    assert!(!said.contains("+1202") && said.contains("1 calls created, 1 changed"), "{said}");
    assert_ne!(documents(&stack).await, intact, "a dry run changes nothing");

    let said = replay(&stack, &["--call-id", "conv_1", "--event-type", "call.busy", "--dry-run"]).await;
    assert!(said.starts_with("c1: would be created\n1 webhooks would be applied"), "{said}");
    assert!(replay(&stack, &["--until", "1h"]).await.starts_with("0 webhooks"));
    assert!(
        replay(&stack, &["--from", "31"]).await.starts_with("0 webhooks"),
        "the 31st webhook is the unreadable one"
    );
    replay(&stack, &["--rate", "100"]).await;
    assert_eq!(facts(&stack).await, intact_facts);
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 31, "nothing is published");
}

#[tokio::test]
async fn replay_adds_what_an_earlier_version_did_not_read() {
    let stack = TestStack::start().await;
    let calls = [json!({ "call_id": "c" }), json!({ "call_id": "d", "conversation_id": "v" })];
    for mut body in calls {
        body.as_object_mut().unwrap().extend([
            ("event_type".to_owned(), "call.busy".into()),
            ("from_number".to_owned(), "+12025550101".into()),
        ]);
        stack.webhook(&body).await;
    }
    stack.all_acknowledged().await;
    let intact = facts(&stack).await;
    let earlier = doc! { "$unset": { "outcome": "", "_outcome": "", "fromNumber": "" } };
    stack.calls.update_many(doc! {}, earlier).await.unwrap();
    let said = replay(&stack, &["--dry-run"]).await;
    assert!(said.contains("0 calls created, 2 changed") && !said.contains("+1202"), "{said}");
    replay(&stack, &[]).await;
    assert_eq!(facts(&stack).await, intact);
}

#[tokio::test]
async fn replay_of_known_and_new_events_of_a_call_applies_each_once() {
    let mut stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "c" })).await;
    stack.all_acknowledged().await;
    stack.workers[0].kill().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c" })).await;
    assert_eq!(
        replay(&stack, &[]).await,
        "2 webhooks applied, 0 unreadable\n",
        "both events are one change of their call"
    );
    let call = stack.until_call("c", doc! { "status": "busy" }).await;
    assert_eq!(call.get_array("history").unwrap().len(), 2, "{call}");
}

#[tokio::test]
async fn replayed_completion_has_its_transcript_fetched() {
    let stack = TestStack::start().await;
    stack
        .webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "conv_c" }))
        .await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    stack.calls.delete_one(doc! { "callId": "c" }).await.unwrap();
    replay(&stack, &[]).await;
    // The broker still knows the first job of the conversation.
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn invalid_replay_commands_fail_with_an_explanation() {
    let stack = TestStack::start().await;
    let (code, _, stderr) = stack.command(&["replay", "--since", "1h", "--until", "2h"], &[]).await;
    assert!(code == Some(1) && stderr.contains("--since must be before --until"), "{stderr}");
    let (code, _, stderr) = stack.command(&["replay", "--since", "yesterday"], &[]).await;
    assert!(code == Some(2) && stderr.contains("--since"), "{stderr}");
}
