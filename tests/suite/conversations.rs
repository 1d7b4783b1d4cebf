//! Calls with several conversations, and conversations larger than a document.

use std::collections::BTreeMap;

use aftercall_common::contract::streams;
use aftercall_worker::{
    domain::{
        call::{CallPatch, Placement},
        event::{self, Envelope, Origin, PlacementId, Provider},
    },
    store::{self, Store},
};
use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
};
use serde_json::{Value, json};

use crate::{
    harness::{Mongo, TestStack, until},
    inserts,
};

const MIB: usize = 1024 * 1024;

fn transcription(call: &str, conversation: &str, at: i64, said: &str) -> Value {
    json!({ "type": "post_call_transcription", "event_timestamp": at, "data": {
        "conversation_id": conversation, "status": "done", "agent_id": format!("agent of {conversation}"),
        "transcript": [{ "role": "agent", "message": said }], "analysis": { "transcript_summary": said },
        "metadata": { "start_time_unix_secs": at - 30, "phone_call": { "call_sid": call } },
    } })
}

/// The next random number in `0..below`.
fn next(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from((*seed >> 33) % below as u64).unwrap()
}

/// Events of one call: events that name only the call, and three conversations, one of which was placed by
/// the API.
fn patches() -> Vec<CallPatch> {
    let twilio = |n: usize, status: &str| {
        let stored_at = jiff::Timestamp::from_second(1_790_000_050 + i64::try_from(n).unwrap()).unwrap();
        let envelope = Envelope::new(format!("t{n}"), stored_at, Origin::Webhook(Provider::Twilio));
        let body = format!("CallSid=CA1&CallStatus={status}&To=%2B6580000001&AnsweredBy=human");
        CallPatch::from(event::parse(&envelope, body.as_bytes()).unwrap())
    };
    let mut patches: Vec<_> = ["initiated", "ringing", "in-progress", "completed"]
        .iter()
        .enumerate()
        .map(|(n, s)| twilio(n, s))
        .collect();
    let flat = |n: i64, body: Value| inserts::patch(&format!("f{n}"), n, &body);
    patches.push(flat(
        1,
        json!({ "event_type": "call.answered", "call_id": "CA1", "to_number": "+6580000000" }),
    ));
    patches
        .push(flat(70, json!({ "event_type": "call.ended", "call_id": "CA1", "timestamp": 1_790_000_400 })));
    for (n, conversation) in ["conv_b", "conv_a", "conv_c"].iter().enumerate() {
        let n = i64::try_from(n).unwrap();
        patches.push(flat(10 + n, transcription("CA1", conversation, 1_790_000_100 + 60 * n, conversation)));
        patches
            .push(flat(20 + n, json!({ "event_type": "call.completed", "conversation_id": conversation })));
        patches.push(flat(
            30 + n,
            json!({ "event_type": "call.ringing", "call_id": "CA1", "conversation_id": conversation }),
        ));
    }
    let placement = Placement { id: PlacementId::new("p1").unwrap(), request: None };
    let placed = flat(40, json!({ "event_type": "call.initiated", "conversation_id": "conv_b" }));
    patches.push(CallPatch { placement: Some(placement), ..placed });
    patches
}

/// The documents by their conversations, without their `_id` and `revision`.
async fn documents(calls: &Collection<Document>) -> BTreeMap<String, BTreeMap<String, Bson>> {
    let found = calls.find(doc! {}).projection(doc! { "_id": 0, "revision": 0 });
    let found: Vec<Document> = found.await.unwrap().try_collect().await.unwrap();
    let key = |call: &Document| call.get_str("conversationId").unwrap_or_default().to_owned();
    found.into_iter().map(|call| (key(&call), call.into_iter().collect())).collect()
}

/// Applies a batch. Repeats it after errors, which concurrent writes cause.
async fn apply(store: &Store, batch: &[CallPatch]) {
    let mut tries = 0;
    while let Err(error) = store::apply(store, batch).await {
        tries += 1;
        assert!(tries < 20, "{error}");
    }
}

#[tokio::test]
async fn several_conversations_of_a_call_give_the_same_documents_in_any_order_and_batching() {
    let mongo = Mongo::shared().await;
    let (store, calls) = inserts::store(&mongo, "conversations").await;
    let all = patches();
    for patch in &all {
        apply(&store, std::slice::from_ref(patch)).await;
    }
    let expected = documents(&calls).await;
    assert_eq!(expected.keys().collect::<Vec<_>>(), ["conv_a", "conv_b", "conv_c"]);
    for (conversation, call) in &expected {
        let answers = call.get("callId").is_some();
        assert_eq!(answers, conversation == "conv_a", "{conversation}");
        assert_eq!(call["sharedCallId"].as_str(), Some("CA1"));
        assert_eq!(call["status"].as_str(), Some("ended"));
        assert_eq!(call.contains_key("_placementId"), conversation == "conv_b");
        assert_eq!(call["agentId"].as_str(), Some(format!("agent of {conversation}").as_str()));
        let turn = call["transcript"].as_array().unwrap()[0].as_document().unwrap();
        assert_eq!(turn.get_str("message").unwrap(), conversation);
    }
    for seed in 1..=12_u64 {
        let (store, calls) = inserts::store(&mongo, "conversations_again").await;
        let mut random = seed;
        let mut order: Vec<_> = all.iter().chain(&all).cloned().collect();
        for n in (1..order.len()).rev() {
            order.swap(n, next(&mut random, n + 1));
        }
        let mut batches = Vec::new();
        while !order.is_empty() {
            let most = [1, 3, 20][next(&mut random, 3)].min(order.len());
            let batch = order.split_off(order.len() - most);
            // The worker joins the patches of a call that can be joined.
            let mut joined: Vec<CallPatch> = Vec::new();
            for patch in batch {
                let same = |one: &&mut CallPatch| {
                    one.call_id == patch.call_id && patch.call_id.is_some() && one.is_joinable(&patch)
                };
                match joined.iter_mut().find(same) {
                    Some(one) => one.merge(patch),
                    None => joined.push(patch),
                }
            }
            batches.push(joined);
        }
        let second = batches.split_off(batches.len() / 2);
        let worker = async |batches: Vec<Vec<CallPatch>>| {
            for batch in batches {
                apply(&store, &batch).await;
            }
        };
        tokio::join!(worker(batches), worker(second));
        assert_eq!(documents(&calls).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn two_conversations_of_a_call_are_found_separately_and_erased_together() {
    let stack = TestStack::start().await;
    stack.webhook(&transcription("CA1", "conv_b", 1_790_000_100, "first")).await;
    stack.all_acknowledged().await;
    stack.webhook(&transcription("CA1", "conv_a", 1_790_000_200, "second")).await;
    stack.webhook(&json!({ "event_type": "call.ended", "call_id": "CA1", "timestamp": 1_790_000_300 })).await;
    stack.all_acknowledged().await;
    for (query, conversation, other, said) in [
        (json!({ "conversation_id": "conv_b" }), "conv_b", "conv_a", "first"),
        (json!({ "conversation_id": "conv_a" }), "conv_a", "conv_b", "second"),
        (json!({ "callSid": "CA1" }), "conv_a", "conv_b", "second"),
        (json!({ "callSid": "CA1", "conversation_id": "conv_b" }), "conv_b", "conv_a", "first"),
    ] {
        let answer = stack.lookup(query.clone()).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let body = &answer.body;
        assert_eq!(
            (&body["conversationId"], &body["callId"]),
            (&json!(conversation), &json!("CA1")),
            "{query}"
        );
        assert_eq!(body["otherConversations"], json!([other]), "{query}");
        assert_eq!(body["transcript"][0]["message"], said, "{query}");
        assert_eq!(body["analysis"]["transcript_summary"], said, "{query}");
        assert_eq!(
            (&body["status"], body["history"].as_array().unwrap().len()),
            (&json!("ended"), 2),
            "{query}"
        );
    }
    let log = stack.workers[0].log();
    assert_eq!(log.matches("the call has another conversation").count(), 1, "{log}");

    let before = documents(&stack.calls).await;
    assert!(
        stack.command(&["replay", "--dry-run"], &[]).await.1.contains("0 calls created, 0 changed, 0 merged")
    );
    assert!(stack.command(&["replay"], &[]).await.1.starts_with("3 webhooks applied"));
    assert_eq!(documents(&stack.calls).await, before);
    let (code, said, stderr) = stack.command(&["forget", "--call-id", "conv_b", "--yes"], &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(said.contains("2 documents"), "{said}");
    assert_eq!(stack.count(doc! {}).await, 0);
}

#[tokio::test]
async fn transcripts_of_all_conversations_of_an_ended_call_are_fetched() {
    let stack = TestStack::start().await;
    for conversation in ["conv_a", "conv_b"] {
        let body =
            json!({ "event_type": "call.answered", "call_id": "CA1", "conversation_id": conversation });
        stack.webhook(&body).await;
    }
    stack.all_acknowledged().await;
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "CA1" })).await;
    for conversation in ["conv_a", "conv_b"] {
        stack.document(doc! { "conversationId": conversation, "transcriptState": "saved" }).await;
        assert_eq!(stack.simulator.request_count(conversation), 1);
    }
}

/// A transcription webhook with so many mebibytes of turns and of analysis.
fn large(turns: usize, analysis: usize) -> Value {
    let turn = json!({ "role": "agent", "message": "x", "tool_results": [{ "result_value": "y".repeat(MIB / 20) }] });
    let mut body = transcription("CAl", "conv_l", 1_790_000_100, "x");
    body["data"]["transcript"] = vec![turn; turns * 20].into();
    body["data"]["analysis"] = json!({ "call_successful": "success", "x": "z".repeat(analysis * MIB) });
    body
}

#[tokio::test]
async fn parts_too_large_for_a_document_are_left_out_and_named() {
    let stack = TestStack::start().await;
    stack.webhook(&large(18, 9)).await;
    let call = stack.until_call("CAl", doc! { "status": "completed", "transcriptState": "saved" }).await;
    assert_eq!(call.get_document("transcript").unwrap().get_i32("turns").unwrap(), 360);
    let answer = stack.lookup(json!({ "callSid": "CAl" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    assert_eq!(answer.body["leftOut"], json!(["rawResponse", "analysis"]));
    assert_eq!(answer.body["omitted"], json!(["transcript"]));
    assert_eq!(answer.body["metadata"]["phone_call"]["call_sid"], "CAl");
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);

    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let files =
        async |name: &str| database.collection::<Document>(name).count_documents(doc! {}).await.unwrap();
    assert_eq!(files("transcripts.files").await, 1);
    assert!(stack.command(&["replay"], &[]).await.1.starts_with("1 webhooks applied"));
    assert_eq!(stack.until_call("CAl", doc! {}).await, call);
    assert_eq!(files("transcripts.files").await, 1);
    let (code, _, stderr) = stack.command(&["forget", "--call-id", "CAl", "--yes"], &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((files("transcripts.files").await, files("transcripts.chunks").await), (0, 0));
}

#[tokio::test]
async fn two_documents_too_large_to_join_whole_are_merged() {
    let stack = TestStack::start().await;
    let most = |mib: usize| "z".repeat(mib * MIB - 2000);
    let mut of_conversation = large(3, 0);
    of_conversation["data"]["analysis"] = json!({ "x": most(2) });
    of_conversation["data"]["metadata"] = json!({ "x": most(2) });
    stack.webhook(&of_conversation).await;
    stack.webhook(&json!({ "event_type": "call.ended", "call_id": "CAl", "x": most(1) })).await;
    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! {}).await, 2);
    let failure = json!({ "type": "call_initiation_failure", "event_timestamp": 1_790_000_000, "data": {
        "conversation_id": "conv_l", "failure_reason": "busy", "metadata": { "body": { "CallSid": "CAl", "x": most(1) } },
    } });
    stack.webhook(&failure).await;
    let wanted =
        doc! { "conversationId": "conv_l", "status": "initiation_failed", "transcriptState": "saved" };
    until("both documents are merged", async || {
        stack
            .calls
            .find_one(wanted.clone())
            .await
            .unwrap()
            .filter(|call| call.contains_key("initiationFailure"))
    })
    .await;
    assert_eq!(stack.count(doc! {}).await, 1);
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}
