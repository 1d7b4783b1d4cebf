//! Webhooks of the providers, and the documents that come of them.

use std::collections::HashMap;

use aftercall_common::contract::streams;
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, TestStack, python, recently, until_equal};

const CONVERSATIONS: &str = include_str!("python/conversations.py");

async fn dead_letters(stack: &TestStack) -> u64 {
    let mut stream = stack.jetstream.get_stream(streams::DEAD_LETTERS).await.unwrap();
    stream.info().await.unwrap().state.messages
}

fn transcription(conversation: &str, call: &str, status: &str) -> Value {
    json!({ "type": "post_call_transcription", "event_timestamp": recently() + 123, "data": {
        "agent_id": "agent_1", "conversation_id": conversation, "status": status,
        "transcript": [{ "role": "agent", "message": "Good morning.", "time_in_call_secs": 0 }],
        "metadata": {
            "start_time_unix_secs": recently(), "call_duration_secs": 61, "termination_reason": "hung up",
            "phone_call": {
                "type": "twilio", "direction": "outbound", "phone_number_id": "phnum_1", "call_sid": call,
                "agent_number": "+15005550006", "external_number": "+6580000001",
            },
        },
        "analysis": { "call_successful": "success", "transcript_summary": "Greeting only." },
    } })
}

#[tokio::test]
async fn transcription_webhook_saves_its_transcript_without_a_fetch() {
    let stack = TestStack::start().await;
    stack.webhook(&transcription("conv_t1", "CAt1", "done")).await;
    let call = stack.until_call("CAt1", doc! { "status": "completed", "transcriptState": "saved" }).await;
    assert_eq!(call.get_str("conversationId").unwrap(), "conv_t1");
    assert_eq!(call.get_str("toNumber").unwrap(), "+6580000001");
    assert_eq!(call.get_str("agentPhoneNumberId").unwrap(), "phnum_1");
    assert_eq!(call.get_array("transcript").unwrap().len(), 1);
    assert_eq!(call.get_document("analysis").unwrap().get_str("call_successful").unwrap(), "success");
    assert_eq!(call.get_document("metadata").unwrap().get_i32("call_duration_secs").unwrap(), 61);
    assert_eq!(call.get_datetime("createdAt").unwrap().timestamp_millis(), recently() * 1000);
    let history = call.get_array("history").unwrap()[0].as_document().unwrap();
    assert_eq!(history.get_str("origin").unwrap(), "elevenlabs");
    assert_eq!(history.get_str("signature").unwrap(), "absent");
    stack.all_acknowledged().await;
    assert_eq!(stack.simulator.request_count("conv_t1"), 0);
}

#[tokio::test]
async fn failure_report_joins_the_documents_of_call_and_conversation() {
    let stack = TestStack::start().await;
    let failure = json!({ "type": "call_initiation_failure", "event_timestamp": recently() + 300, "data": {
        "agent_id": "agent_1", "conversation_id": "conv_f1", "failure_reason": "no-answer",
        "metadata": { "type": "twilio", "body": { "CallSid": "CAf1", "CallStatus": "no-answer", "To": "+6580000002" } },
    } });
    stack
        .webhook(&json!({ "event_type": "call.initiated", "call_id": "CAf1", "timestamp": recently() + 290 }))
        .await;
    stack.webhook(&json!({ "event_type": "call.ringing", "conversation_id": "conv_f1", "timestamp": recently() + 295 })).await;
    stack.all_acknowledged().await;
    stack.webhook(&failure).await;
    stack.webhook(&failure).await;
    let call =
        stack.until_call("CAf1", doc! { "status": "initiation_failed", "failureReason": "no-answer" }).await;
    let body = call.get_document("initiationFailure").unwrap().get_document("body").unwrap();
    assert_eq!(body.get_str("CallStatus").unwrap(), "no-answer");
    assert_eq!(call.get_array("history").unwrap().len(), 3);
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test]
async fn recording_is_stored_in_gridfs_and_keeps_the_status() {
    let stack = TestStack::start().await;
    stack
        .webhook(&json!({ "event_type": "call.answered", "conversation_id": "conv_a1", "call_id": "CAa1" }))
        .await;
    let audio = json!({ "type": "post_call_audio", "event_timestamp": recently() + 400, "data": {
        "agent_id": "agent_1", "conversation_id": "conv_a1", "full_audio": "SUQzBAAAAAAA",
    } });
    let id = stack.webhook(&audio).await["id"].as_str().unwrap().to_owned();
    let call = stack.until_call("CAa1", doc! { "audio.bytes": 9 }).await;
    assert_eq!(call.get_str("status").unwrap(), "answered");
    assert_eq!(call.get_document("audio").unwrap().get_str("fileId").unwrap(), id.as_str());
    assert_eq!(recording(&stack, &id).await, b"ID3\x04\0\0\0\0\0");
}

/// The bytes of a recording in `GridFS`.
async fn recording(stack: &TestStack, id: &str) -> Vec<u8> {
    let chunks = stack
        .calls
        .client()
        .database(&stack.calls.namespace().db)
        .collection::<Document>("recordings.chunks");
    let mut chunks = chunks.find(doc! { "files_id": id }).sort(doc! { "n": 1 }).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(chunk.unwrap().get_binary_generic("data").unwrap());
    }
    bytes
}

#[tokio::test]
async fn recording_of_thirty_megabytes_is_stored() {
    let stack = TestStack::start().await;
    let audio = "SUQz".repeat(8 * 1024 * 1024 - 1024); // A little less than 32 MiB of base64.
    let body = format!(
        r#"{{"type":"post_call_audio","data":{{"conversation_id":"conv_a2","full_audio":"{audio}"}}}}"#
    );
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(65_536).map(|c| Ok(c.to_vec())).collect();
    let answer =
        stack.post_to(CALL_STATUS, reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let wanted = audio.len() / 4 * 3;
    let call = stack.document(doc! { "conversationId": "conv_a2", "audio": { "$exists": true } }).await;
    assert_eq!(call.get_document("audio").unwrap().get_i32("bytes").unwrap(), i32::try_from(wanted).unwrap());
    let stored = recording(&stack, answer.body["id"].as_str().unwrap()).await;
    assert!(stored.len() == wanted && stored.chunks(3).all(|three| three == b"ID3"));
    assert_eq!(dead_letters(&stack).await, 0);
}

#[tokio::test]
async fn twilio_callbacks_are_recorded_in_their_sequence() {
    let stack = TestStack::start().await;
    let steps = ["initiated", "ringing", "in-progress", "completed"];
    let time = jiff::Timestamp::from_second(recently()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let time = time.strftime("%a%%2C+%d+%b+%Y+%H%%3A%M%%3A%S+%%2B0000").to_string();
    for (n, step) in steps.iter().enumerate().rev() {
        let form = format!(
            "CallSid=CAw1&CallStatus={step}&To=%2B6580000009&SequenceNumber={n}&CallbackSource=call-progress-events\
             &Timestamp={time}"
        );
        stack.twilio(&form).await;
    }
    let call = stack.until_call("CAw1", doc! { "status": "ended", "history": { "$size": 4 } }).await;
    let words: Vec<_> = call
        .get_array("history")
        .unwrap()
        .iter()
        .map(|entry| entry.as_document().unwrap().get_str("receivedStatus").unwrap())
        .collect();
    assert_eq!(words, steps, "not in the order of the sequence numbers");
    assert_eq!(call.get_str("toNumber").unwrap(), "+6580000009");
}

#[tokio::test]
async fn every_conversation_the_sdk_can_express_becomes_a_call() {
    const COUNT: u64 = 2000;
    let stack = TestStack::start().await;
    let lines = python::run(CONVERSATIONS, &[&COUNT.to_string(), "7"], b"").await;
    let posts = lines.lines().map(|line| stack.post_to(CALL_STATUS, line.to_owned()));
    let mut posts = futures_util::stream::iter(posts).buffer_unordered(32);
    while let Some(answer) = posts.next().await {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    drop(posts);
    stack.all_acknowledged().await;
    assert_eq!(dead_letters(&stack).await, 0);
    until_equal("calls", COUNT, async || stack.calls.count_documents(doc! {}).await.unwrap()).await;
    let calls: Vec<Document> = stack.calls.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let key = |call: &Document| call.get_str("conversationId").unwrap().to_owned();
    let calls: HashMap<_, _> = calls.into_iter().map(|call| (key(&call), call)).collect();
    for line in lines.lines() {
        let data: Value = serde_json::from_str::<Value>(line).unwrap()["data"].take();
        let turns = data["transcript"].as_array().unwrap().len();
        let call = &calls[data["conversation_id"].as_str().unwrap()];
        if turns > 0 {
            // The worker fetches an empty transcript, and the simulated API returns one with turns.
            assert_eq!(call.get_array("transcript").unwrap().len(), turns, "{}", data["conversation_id"]);
        }
        assert!(call.get_str("status").is_ok());
    }
}
