//! The status lookup: what is stored, and where that is old or missing, what ElevenLabs says.

use aftercall_local::simulator::Answer;
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{LOOKUP, Setup, Stack, until};

/// Whatever is unfinished counts as old at once.
async fn impatient() -> Stack {
    Setup::default().worker_env("STATUS_STALE_AFTER", "0s").start().await
}

#[tokio::test]
async fn a_finished_call_is_answered_from_the_database() {
    let stack = impatient().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" })).await;
    stack.settled().await;
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
async fn an_old_unfinished_call_is_asked_for_and_stored() {
    let stack = impatient().await;
    stack.simulator.script("v", [Answer::InProgress, Answer::Done]);
    stack.webhook(&json!({ "event_type": "call.initiated", "call_id": "c", "conversation_id": "v" })).await;
    stack.settled().await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("answered")), "{}", answer.body);
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    // What was learned is stored, and the transcript it makes due is fetched.
    stack.until_call("c", doc! { "status": "completed", "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn a_long_call_is_asked_for_once_in_a_while() {
    let stack = Setup::default().worker_env("STATUS_STALE_AFTER", "5s").start().await;
    stack.simulator.script("v", [Answer::InProgress]);
    stack.webhook(&json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" })).await;
    stack.settled().await;
    for asked in 1..=2 {
        until("the answer is old and asked for again", async || {
            assert_eq!(stack.lookup(json!({ "callSid": "c" })).await.status, 200);
            (stack.simulator.request_count("v") == asked).then_some(())
        })
        .await;
        stack.lookup(json!({ "callSid": "c" })).await;
        assert_eq!(stack.simulator.request_count("v"), asked, "fresh again");
    }
}

#[tokio::test]
async fn a_call_no_webhook_told_of_is_found_at_elevenlabs() {
    let stack = Stack::start().await;
    let answer = stack.lookup(json!({ "conversation_id": "unheard" })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    stack.document(doc! { "conversationId": "unheard", "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn elevenlabs_down_answers_what_is_stored_as_stale() {
    let stack = impatient().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "c", "conversation_id": "v" })).await;
    stack.settled().await;
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
async fn what_cannot_be_answered_says_why() {
    let stack = Stack::start().await;
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

/// Every query that is no plain text must not be one of the database, which has a call to be found.
#[tokio::test]
async fn operators_of_the_database_are_not_taken_from_a_question() {
    let stack = Stack::start().await;
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
        assert_eq!((answer.status, answer.code()), (400, "no_identifier"), "{question}: {}", answer.body);
    }
    for text in ["$ne", "$where:true", "{\"$ne\":null}", "c\u{0}", "*", ".*"] {
        let answer = stack.lookup(json!({ "callSid": text })).await;
        assert!([400, 404].contains(&answer.status), "{text}: {}", answer.body);
    }
    assert_eq!(stack.lookup(json!({ "callSid": "c" })).await.body["status"], "ended");
}

#[tokio::test]
async fn many_who_ask_for_the_same_call_share_one_request() {
    let stack = Stack::start().await;
    // The first answer takes a moment: a hiccup is repeated within one search.
    stack.simulator.script("v", [Answer::Status(500), Answer::Done]);
    let answers = join_all((0..20).map(|_| stack.lookup(json!({ "conversation_id": "v" })))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body["status"] == "completed"));
    // Two of the search, one of the transcript; a latecomer may have looked just before it was stored.
    assert!(stack.simulator.request_count("v") <= 5, "{}", stack.simulator.request_count("v"));
}

#[tokio::test]
async fn without_a_worker_it_is_said_so() {
    let stack = Setup::default().without_worker().start().await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, answer.code()), (503, "no_worker"));
}

#[tokio::test]
async fn an_answer_larger_than_a_message_leaves_out_and_says_so() {
    let stack = Stack::start().await;
    stack.simulator.script("v", [Answer::Huge(3 << 20)]);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    let answer = stack.lookup(json!({ "callSid": "c" })).await;
    assert_eq!((answer.status, &answer.body["omitted"]), (200, &json!(["transcript"])), "{}", answer.body);
}
