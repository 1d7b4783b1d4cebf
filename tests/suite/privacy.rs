//! The command `forget`, and retention.

use aftercall_common::contract::streams;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{TestStack, recently, until_equal};

const NUMBER: &str = "+12025550100";
/// `audio`, in base64.
const AUDIO: &str = "YXVkaW8=";

async fn forget(stack: &TestStack, args: &[&str]) -> (Option<i32>, String, String) {
    stack.command(&[&["forget"], args].concat(), &[]).await
}

/// Whether a message of `stream` contains one of these texts.
async fn holds(stack: &TestStack, stream: &str, words: &[&str]) -> bool {
    let stream = stack.jetstream.get_stream(stream).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    for sequence in 1..=last {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            let text = format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload));
            if words.iter().any(|word| text.contains(word)) {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn forget_erases_one_person_everywhere_and_nobody_else() {
    let stack = TestStack::start().await;
    let completed = |call: &str, number: &str| {
        json!({
            "event_type": "call.completed", "call_id": call, "conversation_id": format!("conv_{call}"),
            "to_number": number,
        })
    };
    for event in [
        // Only the first event contains the number. Its ids lead to the other events.
        completed("theirs", NUMBER),
        json!({ "event_type": "call.ended", "call_id": "theirs", "padding": "x".repeat(2_000_000) }),
        json!({ "type": "post_call_audio", "event_timestamp": recently(),
                "data": { "agent_id": "a", "conversation_id": "conv_theirs", "full_audio": AUDIO } }),
        json!({ "type": "call.teleported", "data": { "to": NUMBER } }),
        completed("other", "+12025550101"),
        json!({ "type": "call.teleported", "data": { "to": "+12025550101" } }),
    ] {
        stack.webhook(&event).await;
    }
    for call in ["theirs", "other"] {
        stack.until_call(call, doc! { "transcriptState": "saved" }).await;
    }
    stack.until_call("theirs", doc! { "audio": { "$exists": true }, "status": "ended" }).await;
    stack.all_acknowledged().await;
    until_equal("dead letters", 2, async || stack.stored(streams::DEAD_LETTERS).await).await;

    let (code, said, stderr) = forget(&stack, &["--to-number", NUMBER, "--dry-run"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(said.starts_with("would be erased: 4 webhooks, 1 large bodies"), "{said}");
    assert!(said.contains(" 1 dead letters,") && said.contains(" 1 documents, 1 recordings,"), "{said}");
    assert!(!said.contains("2025550100"), "{said}");
    let (code, _, stderr) = forget(&stack, &["--to-number", NUMBER]).await;
    assert!(code == Some(1) && stderr.contains("--yes"), "{stderr}");
    assert_eq!(stack.count(doc! {}).await, 2);

    let (code, said, stderr) = forget(&stack, &["--to-number", "+1 (202) 555-0100", "--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["erased"], &said["documents"], &said["recordings"]),
        (&json!(true), &json!(1), &json!(1))
    );

    for name in [streams::WEBHOOKS, streams::DEAD_LETTERS, streams::TRANSCRIPTS] {
        assert!(!holds(&stack, name, &["2025550100", "theirs"]).await, "{name}");
    }
    assert_eq!(stack.count(doc! {}).await, 1);
    stack.until_call("other", doc! { "transcriptState": "saved" }).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2);
    let bodies = stack.jetstream.get_object_store(streams::WEBHOOK_BODIES).await.unwrap();
    let left: Vec<_> = bodies.list().await.unwrap().collect().await;
    assert!(left.is_empty(), "{left:?}");
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    for files in ["recordings.files", "recordings.chunks"] {
        assert_eq!(
            database.collection::<Document>(files).count_documents(doc! {}).await.unwrap(),
            0,
            "{files}"
        );
    }
    // A replay does not restore the person, and a second command finds nothing.
    assert!(stack.command(&["replay"], &[]).await.1.starts_with("1 webhooks applied"));
    assert_eq!(stack.count(doc! {}).await, 1);
    assert_eq!(
        forget(&stack, &["--to-number", NUMBER, "--yes"]).await.1,
        "no data of this person is stored\n"
    );
    assert!(forget(&stack, &["--call-id", "conv_other", "--yes"]).await.1.starts_with("erased: 1 webhooks"));
    assert_eq!(stack.count(doc! {}).await, 0);
}

/// Publishes a dead letter that `webhooks.elevenlabs.call-status` has delivered.
async fn dead_letter(stack: &TestStack, body: &Value) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(streams::header::DEAD_STREAM, streams::WEBHOOKS);
    headers.insert(streams::header::DEAD_SUBJECT, streams::subject::ELEVENLABS_CALL_STATUS);
    let subject = streams::subject::dead_letter(streams::consumer::STATUS);
    let published = stack.jetstream.publish_with_headers(subject, headers, body.to_string().into());
    published.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn forget_erases_a_call_whose_number_only_a_dead_letter_holds() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "theirs" })).await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "other" })).await;
    stack.all_acknowledged().await;
    // The stream of webhooks has deleted the original of this dead letter already.
    dead_letter(&stack, &json!({ "event_type": "call.busy", "call_id": "theirs", "to_number": NUMBER }))
        .await;
    let (code, said, stderr) = forget(&stack, &["--to-number", NUMBER, "--yes"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(said.starts_with("erased: 1 webhooks") && said.contains(" 1 documents"), "{said}");
    for name in [streams::WEBHOOKS, streams::DEAD_LETTERS] {
        assert!(!holds(&stack, name, &["theirs"]).await, "{name}");
    }
    assert_eq!(stack.count(doc! { "callId": "other" }).await, 1);
}

#[tokio::test]
async fn forget_follows_a_chain_of_ids_to_its_end() {
    let stack = TestStack::start().await;
    // Each letter links two ids. In the order of the stream, each pass finds one more.
    for n in (1..=12).rev() {
        let (call, conversation) = (format!("chain_{n}"), format!("chain_{}", n - 1));
        let event = json!({ "event_type": "call.busy", "call_id": call, "conversation_id": conversation });
        dead_letter(&stack, &event).await;
    }
    let (code, said, stderr) = forget(&stack, &["--call-id", "chain_0", "--yes"]).await;
    assert!(code == Some(0) && said.contains("12 dead letters"), "{said}{stderr}");
    assert!(!holds(&stack, streams::DEAD_LETTERS, &["chain_"]).await);
}

#[tokio::test]
async fn forget_and_replay_fail_if_the_object_store_does_not_return_a_body() {
    let stack = TestStack::start().await;
    let event = |call: &str, bytes: usize| json!({ "event_type": "call.busy", "call_id": call, "to_number": NUMBER, "padding": "x".repeat(bytes) });
    stack.webhook(&event("small", 1)).await;
    stack.webhook(&event("large", 2_000_000)).await;
    stack.all_acknowledged().await;
    // Other bytes replace the chunks, so the digest is wrong.
    let bodies = stack.jetstream.get_object_store(streams::WEBHOOK_BODIES).await.unwrap();
    let body = bodies.list().await.unwrap().next().await.unwrap().unwrap();
    let chunks = format!("$O.{}.C.{}", streams::WEBHOOK_BODIES, body.nuid);
    let stream = stack.jetstream.get_stream(format!("OBJ_{}", streams::WEBHOOK_BODIES)).await.unwrap();
    stream.purge().filter(&chunks).await.unwrap();
    stack.jetstream.publish(chunks, "x".into()).await.unwrap().await.unwrap();

    let (code, said, stderr) = stack.command(&["replay"], &[]).await;
    assert_eq!(said, "1 webhooks applied, 0 unreadable\n");
    assert!(code == Some(1) && stderr.contains("1 webhooks were left out"), "{stderr}");
    let (code, said, stderr) = forget(&stack, &["--call-id", "nobody", "--yes"]).await;
    assert!(code == Some(1) && said.is_empty() && stderr.contains("message 2 of WEBHOOKS"), "{said}{stderr}");
    let (code, said, stderr) = forget(&stack, &["--to-number", NUMBER, "--yes"]).await;
    assert!(said.starts_with("erased: 1 webhooks"), "the rest is erased: {said}");
    assert!(code == Some(1) && stderr.contains("message 2 of WEBHOOKS"), "{stderr}");
}

#[tokio::test]
async fn forget_finds_a_number_in_every_notation_and_lists_mere_mentions() {
    let stack = TestStack::start().await;
    let report = |id: &str, party: Value, said: &str| {
        json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000, "data": {
            "agent_id": "a", "conversation_id": id, "status": "done",
            "transcript": [{ "role": "user", "message": said }], "metadata": { "phone_call": party },
        } })
    };
    let flat = |id: &str, more: Value| {
        let mut event = json!({ "event_type": "call.ended", "call_id": id });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for event in [
        flat("spaced", json!({ "to_number": "+1 202 555 0100" })),
        report("inbound", json!({ "direction": "inbound", "external_number": "+1 (202) 555-0100" }), "hello"),
        flat("nested", json!({ "metadata": { "body": { "Caller": 12_025_550_100_u64 } } })),
        report("said", json!({ "external_number": "+12025550199" }), "call me at 1 202 555 0100"),
        flat("noted", json!({ "to_number": "+12025550198", "note": "referred by 1-202-555-0100" })),
        flat("national", json!({ "to_number": "(202) 555-0100" })),
        flat("other", json!({ "to_number": "+12025550197" })),
    ] {
        stack.webhook(&event).await;
    }
    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! {}).await, 7);
    // The stream no longer contains the first two webhooks. Their documents are left.
    stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().purge().sequence(3).await.unwrap();

    let (code, said, stderr) = forget(&stack, &["--number", NUMBER, "--dry-run"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(said.contains("3 documents") && said.contains("2 calls of others mention the number"), "{said}");
    assert!(said.contains("noted") && said.contains("said") && said.contains("--mentions"), "{said}");
    let (_, said, _) = forget(&stack, &["--number", NUMBER, "--yes", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["documents"], &said["mentionedIn"]), (&json!(3), &json!(["noted", "said"])), "{said}");
    let left = async || {
        let found: Vec<Document> =
            stack.calls.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
        let ids = found.iter().map(|call| call.get_str("callId").or(call.get_str("conversationId")));
        let mut ids: Vec<_> = ids.map(|id| id.unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(left().await, ["national", "noted", "other", "said"], "--yes does not include mentions");

    let (_, said, _) = forget(&stack, &["--number", NUMBER, "--national", "--yes"]).await;
    assert!(said.starts_with("erased: 1 webhooks"), "{said}");
    let (_, said, _) = forget(&stack, &["--number", NUMBER, "--mentions", "--yes"]).await;
    assert!(said.starts_with("erased: 2 webhooks") && !said.contains("mention the number"), "{said}");
    assert_eq!(left().await, ["other"]);
    assert!(!holds(&stack, streams::WEBHOOKS, &["0100"]).await);
}

#[tokio::test]
async fn forget_requires_a_selector() {
    let stack = TestStack::start().await;
    for (args, wrong) in [
        (&[][..], "--to-number"),
        (&["--to-number", "911"], "at least seven digits"),
        (&["--to-number", NUMBER, "--call-id", "c"], "cannot be used with"),
    ] {
        let (code, _, stderr) = forget(&stack, args).await;
        assert!(code != Some(0) && stderr.contains(wrong), "{args:?}: {stderr}");
        assert!(!stderr.contains("2025550100"), "{stderr}");
    }
}

#[tokio::test]
async fn retention_setting_becomes_an_expiry_index() {
    let mut stack = TestStack::builder().worker_env("RETENTION_DAYS", "30").start().await;
    let seconds = async |stack: &TestStack| -> Option<u64> {
        let indexes: Vec<_> = stack.calls.list_indexes().await.unwrap().try_collect().await.unwrap();
        let options = indexes.into_iter().filter_map(|index| index.options);
        let retention = options.filter(|options| options.name.as_deref() == Some("retention"));
        retention.filter_map(|options| options.expire_after).map(|time| time.as_secs()).next()
    };
    assert_eq!(seconds(&stack).await, Some(30 * 86_400));
    stack.worker_env("RETENTION_DAYS", "7");
    stack.add_worker().await;
    assert_eq!(seconds(&stack).await, Some(7 * 86_400));
    stack.worker_env("RETENTION_DAYS", "");
    stack.add_worker().await;
    assert_eq!(seconds(&stack).await, None);
}
