//! Bodies larger than a message: the gateway stores them in the object store, and the message names the
//! object.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_local::nats;
use async_nats::jetstream::object_store::ObjectStore;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::harness::{CALL_STATUS, TestStack, until};

const MIB: usize = 1024 * 1024;

async fn bucket(stack: &TestStack) -> ObjectStore {
    stack.jetstream.get_object_store(streams::WEBHOOK_BODIES).await.unwrap()
}

async fn objects(stack: &TestStack) -> usize {
    bucket(stack).await.list().await.unwrap().count().await
}

/// Posts `body` in chunks, without its length.
async fn post_chunked(stack: &TestStack, body: &str) -> (u16, Value) {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(50_000).map(|chunk| Ok(chunk.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let answer = stack.post_to(CALL_STATUS, body).await;
    (answer.status, answer.body)
}

fn audio(bytes: usize) -> String {
    let audio = "SUQz".repeat(bytes / 4);
    format!(r#"{{"type":"post_call_audio","data":{{"conversation_id":"conv_1","full_audio":"{audio}"}}}}"#)
}

#[tokio::test]
async fn large_body_is_stored_once_and_its_message_names_the_object() {
    let options = nats::Options { extra: "max_payload: 64KB".to_owned(), ..nats::Options::default() };
    let stack = TestStack::builder()
        .without_worker()
        .nats(options)
        .gateway_env("MAX_BODY_BYTES", "300000")
        .start()
        .await;
    let large = json!({ "pad": "é".repeat(100_000) }).to_string();
    for (n, duplicate) in [false, true].into_iter().enumerate() {
        let (status, answer) = post_chunked(&stack, &large).await;
        assert_eq!((status, &answer["duplicate"]), (200, &json!(duplicate)), "post {n}: {answer}");
    }
    let id = hex::encode(Sha256::digest(format!("{CALL_STATUS}\n{large}")));
    let message = stack.message(streams::WEBHOOKS, 1).await;
    let header = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
    assert!(message.payload.is_empty());
    assert_eq!((header("Nats-Msg-Id"), header(streams::header::BODY_OBJECT)), (id.clone(), id.clone()));
    assert_eq!(header(streams::header::BODY_BYTES), large.len().to_string());
    assert_eq!(objects(&stack).await, 1);
    let (mut object, mut found) = (bucket(&stack).await.get(&id).await.unwrap(), Vec::new());
    object.read_to_end(&mut found).await.unwrap();
    assert!(found == large.as_bytes(), "the object has the posted bytes");

    // A body that fits into a message stays in it. A body above MAX_BODY_BYTES is refused, with or without a
    // length.
    stack.webhook(&json!({ "pad": "x".repeat(50_000) })).await;
    assert_eq!(objects(&stack).await, 1);
    let (status, answer) = post_chunked(&stack, &json!({ "pad": "x".repeat(300_000) }).to_string()).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));
    for broken in [&large[..large.len() - 1], &large.replacen('é', "\u{7}", 1)] {
        let (status, answer) = post_chunked(&stack, broken).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_json")));
    }
    assert_eq!((objects(&stack).await, stack.stored(streams::WEBHOOKS).await), (1, 2));
}

#[tokio::test]
async fn body_of_32_mebibytes_needs_little_gateway_memory() {
    let stack = TestStack::builder().without_worker().start().await;
    let body = audio(32 * MIB - 1024);
    let posting = post_chunked(&stack, &body);
    let watching = async {
        let mut most = 0;
        loop {
            most = most.max(stack.gateway.resident());
            tokio::time::sleep(Duration::from_millis(5)).await;
            if stack.stored(streams::WEBHOOKS).await > 0 {
                return most.max(stack.gateway.resident());
            }
        }
    };
    let ((status, answer), most) = tokio::join!(posting, watching);
    assert_eq!(status, 200, "{answer}");
    assert!(most < 120 * MIB as u64, "the gateway needed {} MiB", most / MIB as u64);
}

#[tokio::test]
async fn gateway_killed_during_an_upload_leaves_no_message_without_its_body() {
    let mut stack = TestStack::builder().without_worker().start().await;
    let body = audio(16 * MIB);
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.clone());
    let mut posting = tokio::task::JoinSet::new();
    posting.spawn(request.send());
    until("the first chunks are stored", async || {
        let mut chunks = stack.jetstream.get_stream("OBJ_WEBHOOK_BODIES").await.ok()?;
        (chunks.info().await.ok()?.state.messages > 3).then_some(())
    })
    .await;
    stack.gateway.kill().await;
    let answered = posting.join_next().await.unwrap().unwrap().is_ok_and(|answer| answer.status() == 200);
    let stored = stack.stored(streams::WEBHOOKS).await;
    assert!(stored == 0 || objects(&stack).await == 1, "a message names a missing object");
    assert!(!answered || stored == 1);
    stack.gateway.restart().await;
    let http = stack.http.clone();
    stack.gateway.until_ready(&http).await;
    let (status, _) = post_chunked(&stack, &body).await;
    assert_eq!((status, objects(&stack).await, stack.stored(streams::WEBHOOKS).await), (200, 1, 1));
}

#[tokio::test]
async fn bodies_are_kept_one_day_longer_than_their_messages() {
    let mut stack = TestStack::builder().without_worker().start().await;
    let day = Duration::from_hours(24);
    let age = async |stack: &TestStack, name: &str| {
        stack.jetstream.get_stream(name).await.unwrap().cached_info().config.max_age
    };
    assert_eq!(age(&stack, "OBJ_WEBHOOK_BODIES").await, age(&stack, streams::WEBHOOKS).await + day);
    // An operator keeps webhooks longer. The gateway adapts the object store at its next start.
    let mut config =
        stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone();
    config.max_age = 90 * day;
    stack.jetstream.update_stream(config).await.unwrap();
    stack.gateway.kill().await;
    stack.gateway.restart().await;
    let http = stack.http.clone();
    stack.gateway.until_ready(&http).await;
    assert_eq!(age(&stack, "OBJ_WEBHOOK_BODIES").await, 91 * day);
}
