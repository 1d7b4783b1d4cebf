//! The status lookup: it answers from the database, and asks ElevenLabs if the call is stale or unknown.

use std::time::Duration;

use aftercall_common::contract::agent_calls::STATUS_SUBJECT;
use aftercall_local::simulator::Answer;
use futures_util::{StreamExt as _, future::join_all};
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{LOOKUP, TestStack, until};

/// A stack in which unfinished calls are stale at once.
async fn stale_at_once() -> TestStack {
    TestStack::builder().worker_env("STATUS_STALE_AFTER", "0s").start().await
}

#[tokio::test]
async fn finished_call_is_answered_from_the_database() {
    let stack = stale_at_once().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    for query in [json!({ "callSid": "c" }), json!({ "conversation_id": "v" })] {
        let answer = stack.lookup(query).await;
        assert_eq!(
            (answer.status, &answer.body["status"], &answer.body["stale"]),
            (200, &json!("busy"), &json!(false))
        );
    }
    assert_eq!(stack.simulator.requests().len(), 0);
}

#[tokio::test]
async fn stale_unfinished_call_is_requested_and_stored() {
    let stack = stale_at_once().await;
    stack.simulator.script("v", [Answer::InProgress, Answer::Done]);
    stack.webhook(&json!({ "event_type": "call.initiated", "call_id": "c", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("answered")), "{}", answer.body);
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    // The answer of ElevenLabs is stored, and the transcript is fetched.
    stack.until_call("c", doc! { "status": "completed", "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn running_call_is_requested_again_only_when_stale() {
    let stack = TestStack::builder().worker_env("STATUS_STALE_AFTER", "5s").start().await;
    stack.simulator.script("v", [Answer::InProgress]);
    stack.webhook(&json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    for asked in 1..=2 {
        until("the call is stale and requested again", async || {
            assert_eq!(stack.lookup(json!({ "callSid": "c" })).await.status, 200);
            (stack.simulator.request_count("v") == asked).then_some(())
        })
        .await;
        stack.lookup(json!({ "callSid": "c" })).await;
        assert_eq!(stack.simulator.request_count("v"), asked, "the answer is not stale");
    }
}

#[tokio::test]
async fn call_without_webhooks_is_found_at_elevenlabs() {
    let stack = TestStack::start().await;
    let answer = stack.lookup(json!({ "conversation_id": "unheard" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    assert_eq!(
        (&answer.body["outcome"], &answer.body["agentName"]),
        (&json!("answered"), &json!("Simulated agent"))
    );
    assert!(answer.body["durationSecs"].as_i64().is_some_and(|seconds| seconds > 0), "{}", answer.body);
    stack.document(doc! { "conversationId": "unheard", "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn stored_call_is_answered_as_stale_if_elevenlabs_is_down() {
    let stack = stale_at_once().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "c", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    stack.simulator.stop().await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!(
        (answer.status, &answer.body["status"], &answer.body["stale"]),
        (200, &json!("ringing"), &json!(true))
    );
    let unknown = stack.lookup(json!({ "conversation_id": "unheard" })).await;
    assert_eq!((unknown.status, unknown.code()), (503, "elevenlabs_unavailable"));
}

#[tokio::test]
async fn failed_lookups_name_the_reason() {
    let stack = TestStack::start().await;
    stack.simulator.script_default([Answer::NotFound]);
    #[rustfmt::skip]
    let table = [
        (json!({}),                                400,     "no_identifier"),
        (json!({ "callSid": null }),               400,     "no_identifier"),
        (json!({ "callSid": { "$ne": null } }),    400,     "invalid_request"),
        (json!({ "conversation_id": "a/../b" }),   400,     "invalid_request"),
        (json!({ "callSid": "unheard" }),          404,     "not_found"),
        (json!({ "conversation_id": "unheard" }),  404,     "not_found"),
    ];
    for (query, status, code) in table {
        let answer = stack.lookup(query.clone()).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{query}: {}", answer.body);
    }
    let answer = stack.post_to(LOOKUP, "[1]").await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_json"));
}

/// The database contains a call, which a query with an operator would find.
#[tokio::test]
async fn database_operators_in_a_lookup_are_refused() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.ended", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "status": "ended" }).await;
    stack.simulator.script_default([Answer::NotFound]);
    let values = [
        json!({ "$ne": null }),
        json!({ "$gt": "" }),
        json!({ "$regex": ".*" }),
        json!({ "$in": ["c", "v"] }),
        json!({ "$where": "true" }),
        json!(["c", "v"]),
        json!([{ "$exists": true }]),
        json!(true),
        json!(1),
    ];
    for (value, field) in values.iter().flat_map(|value| [(value, "callSid"), (value, "conversation_id")]) {
        let answer = stack.lookup(json!({ field: value })).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid_request"),
            "{field} {value}: {}",
            answer.body
        );
        assert!(!answer.body.to_string().contains("ended"), "{}", answer.body);
    }
    for question in [
        json!({ "$or": [{ "callId": "c" }] }),
        json!({ "callSid.$ne": "x" }),
        json!({ "callSid": "", "$where": "true" }),
    ] {
        let answer = stack.lookup(question.clone()).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{question}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().starts_with("unknown field"), "{}", answer.body);
    }
    for text in ["$ne", "$where:true", "{\"$ne\":null}", "c\u{0}", "*", ".*"] {
        let answer = stack.lookup(json!({ "callSid": text })).await;
        assert!([400, 404].contains(&answer.status), "{text}: {}", answer.body);
    }
    assert_eq!(stack.lookup(json!({ "callSid": "c" })).await.body["status"], "ended");
}

#[tokio::test]
async fn concurrent_lookups_of_a_call_share_one_request() {
    let stack = TestStack::start().await;
    // The first request fails, so that the search lasts until its repetition.
    stack.simulator.script("v", [Answer::Status(500), Answer::Done]);
    let answers = join_all((0..20).map(|_| stack.lookup(json!({ "conversation_id": "v" })))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body["status"] == "completed"));
    // Two requests of the search, one of the transcript. A late lookup may start just before the call is
    // stored.
    assert!(stack.simulator.request_count("v") <= 5, "{}", stack.simulator.request_count("v"));
}

#[tokio::test]
async fn lookup_without_a_worker_is_answered_no_worker() {
    let stack = TestStack::builder().without_worker().start().await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, answer.code()), (503, "no_worker"));
}

#[tokio::test]
async fn answer_larger_than_a_message_names_the_omitted_fields() {
    let stack = TestStack::start().await;
    stack.simulator.script("v", [Answer::Huge(3 << 20)]);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["omitted"]), (200, &json!(["transcript"])), "{}", answer.body);
}

#[tokio::test]
async fn lookup_whose_worker_is_gone_is_answered_by_another_one() {
    let stack = TestStack::builder().without_worker().start().await;
    let broker = async_nats::connect(stack.nats.url()).await.unwrap();
    let mut workers = broker.subscribe(STATUS_SUBJECT).await.unwrap();
    // The broker answers after it has processed the subscription.
    async_nats::jetstream::new(broker.clone()).query_account().await.unwrap();
    let answering = async {
        let lost = workers.next().await.unwrap();
        let repeated = workers.next().await.unwrap();
        assert_eq!(lost.payload, repeated.payload);
        let answer = json!({ "status": "busy" }).to_string();
        broker.publish(repeated.reply.unwrap(), answer.into()).await.unwrap();
        broker.flush().await.unwrap();
    };
    let both = async { tokio::join!(stack.lookup(json!({ "callSid": "c" })), answering) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .expect("the second request and its answer come before the time limit of the gateway");
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("busy")), "{}", answer.body);
}
