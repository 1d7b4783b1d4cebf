//! The state of calls, as webhooks determine it.

use std::collections::HashSet;

use aftercall_common::contract::streams;
use async_nats::jetstream::message::StreamMessage;
use futures_util::{StreamExt as _, future::join_all, stream as futures};
use mongodb::bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::harness::{TestStack, recently, until_equal};

#[tokio::test]
async fn every_event_leads_to_its_status() {
    let stack = TestStack::start().await;
    #[rustfmt::skip]
    let table = [
        ("call.initiated",          "initiated",         None),
        ("call.ringing",            "ringing",           None),
        ("call.answered",           "answered",          None),
        ("call.completed",          "completed",         None),
        ("call.ended",              "ended",             None),
        ("call_initiation_failure", "initiation_failed", Some("Call could not be initiated")),
        ("call.busy",               "busy",              Some("Recipient was busy")),
        ("call.no_answer",          "no_answer",         Some("No answer from recipient")),
        ("call.failed",             "failed",            Some("Call failed")),
        ("call.canceled",           "canceled",          Some("Call was canceled")),
        ("call.unreachable",        "unreachable",       Some("Recipient was unreachable")),
        ("call.rejected",           "rejected",          Some("Call was rejected by recipient")),
    ];
    for (event, _, _) in table {
        stack.webhook(&json!({ "event_type": event, "call_id": format!("id-{event}") })).await;
    }
    stack.all_acknowledged().await;
    for (event, status, reason) in table {
        let call = stack.document(doc! { "callId": format!("id-{event}") }).await;
        assert_eq!(call.get_str("status").unwrap(), status, "{event}");
        assert_eq!(call.get_str("failureReason").ok(), reason, "{event}");
        assert_eq!(call.get_array("history").unwrap().len(), 1, "{event}");
    }
}

#[tokio::test]
async fn example_of_the_specification_gives_the_expected_call() {
    let stack = TestStack::start().await;
    let completed = json!({ "call_id": "test_call_123", "conversation_id": "test_conv_123",
        "event_type": "call.completed", "status": "completed" });
    let no_answer = json!({ "call_id": "test_call_123", "event_type": "call.no_answer",
        "status": "failed", "failure_reason": "No answer from recipient" });
    stack.webhook(&completed).await;
    stack.until_call("test_call_123", doc! { "transcriptState": "saved" }).await;
    stack.webhook(&no_answer).await;
    stack.all_acknowledged().await;

    let answer = stack.lookup(json!({ "callSid": "test_call_123" })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["status"], "no_answer");
    assert_eq!(answer.body["failureReason"], "No answer from recipient");
    assert_eq!(answer.body["rawResponse"], no_answer);
    assert_eq!(answer.body["conversationId"], "test_conv_123");
    assert_eq!(answer.body["stale"], false);
    assert!(!answer.body["transcript"].as_array().unwrap().is_empty());
    let words: Vec<_> =
        answer.body["history"].as_array().unwrap().iter().map(|e| &e["receivedStatus"]).collect();
    // The fetch of the transcript stored what the conversation says.
    assert_eq!(words, ["done", "completed", "failed"]);
}

#[tokio::test]
async fn failure_reason_is_the_first_non_empty_field() {
    let stack = TestStack::start().await;
    #[rustfmt::skip]
    let table = [
        ("a", json!({ "failure_reason": "one", "error_message": "two", "message": "three" }), "one"),
        ("b", json!({ "error_message": "two", "message": "three" }),                          "two"),
        ("c", json!({ "failure_reason": "", "message": "three" }),                            "three"),
        ("d", json!({ "failure_reason": null }),                                              "No answer from recipient"),
    ];
    for (id, fields, _) in &table {
        let mut body = json!({ "event_type": "call.no_answer", "call_id": id });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        stack.webhook(&body).await;
    }
    for (id, _, reason) in table {
        stack.until_call(id, doc! { "failureReason": reason }).await;
    }
}

/// A document without the fields that depend on order, repetition or batching: ids, times of storage, and
/// attempts.
fn comparable(mut call: Document) -> Document {
    #[rustfmt::skip]
    let variable = [
        "_id", "callId", "conversationId", "revision", "updatedAt", "_storedAt", "_owedSince", "_transcriptSavedAt",
        "_transcriptAttempts", "transcript",
        // From the conversation, which differs for each call.
        "startedAt", "answeredAt", "endedAt", "durationSecs", "metadata", "_metadata", "_analysis",
        "_dynamicVariables", "rawResponse", "_raw",
    ];
    for field in variable {
        call.remove(field);
    }
    // Claims that name only the call are also kept separately.
    let mut of_call = call.remove("_call").and_then(|part| part.as_document().cloned()).unwrap();
    for field in ["updatedAt", "_storedAt"] {
        of_call.remove(field);
    }
    for part in [&mut call, &mut of_call] {
        for key in ["_status", "_outcome"] {
            part.get_document_mut(key).unwrap().remove("eventId");
        }
    }
    of_call.get_document_mut("_raw").unwrap().remove("eventId");
    let raw = of_call.get_document_mut("rawResponse").unwrap();
    raw.remove("call_id");
    raw.remove("conversation_id");
    let mut fields: Vec<_> = of_call.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    call.insert("_call", fields.into_iter().collect::<Document>());
    for entry in call.get_array_mut("history").unwrap() {
        if let Bson::Document(entry) = entry {
            entry.remove("eventId");
            if entry.get_str("eventType").unwrap() == "post_call_transcription" {
                entry.remove("at");
            }
            assert!(entry.remove("storedAt").is_some(), "every event says when it was stored");
        }
    }
    // The order of the fields does not count.
    let mut fields: Vec<_> = call.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields.into_iter().collect()
}

/// All orders of `0..n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let insert = |order: &Vec<usize>, at: usize| [&order[..at], &[n - 1], &order[at..]].concat();
    shorter.iter().flat_map(|order| (0..n).map(move |at| insert(order, at))).collect()
}

#[tokio::test]
async fn all_orders_of_events_give_the_same_document() {
    let stack = TestStack::start().await;
    // Events with the call, the conversation, or both, and two failures, of which the later one counts.
    #[rustfmt::skip]
    let life = [
        ("call.ringing",   recently() + 1, true,  false),
        ("call.completed", recently() + 5, false, true),
        ("call.busy",      recently() + 9, true,  false),
        ("call.no_answer", recently() + 7, true,  true),
        ("call.initiated", recently(), true,  false),
        ("call.ended",     recently() + 8, false, true),
    ];
    let orders = permutations(life.len());
    let post = async |n: usize, order: &Vec<usize>| {
        for &event in order {
            let (event_type, timestamp, by_call, by_conversation) = life[event];
            let mut body = json!({ "event_type": event_type, "timestamp": timestamp });
            if by_call {
                body["call_id"] = format!("call-{n}").into();
            }
            if by_conversation {
                body["conversation_id"] = format!("conv-{n}").into();
            }
            stack.webhook(&body).await;
        }
    };
    let post = &post;
    futures::iter(orders.iter().enumerate())
        .for_each_concurrent(64, |(n, order)| async move { post(n, order).await })
        .await;
    stack.all_acknowledged().await;
    until_equal("due transcripts", 0, async || stack.count(doc! { "transcriptState": "owed" }).await).await;

    assert_eq!(stack.count(doc! {}).await, orders.len() as u64, "one document a call");
    let mut documents = HashSet::new();
    let mut calls = stack.calls.find(doc! {}).await.unwrap();
    while let Some(call) = calls.next().await {
        let call = call.unwrap();
        assert!(!call.get_array("transcript").unwrap().is_empty(), "{call}");
        assert_eq!(call.get_str("status").unwrap(), "busy", "{call}");
        assert!(call.contains_key("callId") && call.contains_key("conversationId"), "{call}");
        documents.insert(comparable(call).to_string());
    }
    assert_eq!(documents.len(), 1, "{documents:#?}");
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn duplicates_and_redelivery_change_nothing() {
    let stack = TestStack::start().await;
    let events: Vec<Value> = ["call.initiated", "call.completed", "call.busy"]
        .iter()
        .map(|event| json!({ "event_type": event, "call_id": "c", "conversation_id": "v" }))
        .collect();
    for event in &events {
        assert_eq!(stack.webhook(event).await["duplicate"], false);
    }
    stack.all_acknowledged().await;
    let before = stack.until_call("c", doc! { "transcriptState": "saved" }).await;

    for event in &events {
        assert_eq!(stack.webhook(event).await["duplicate"], true);
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 3);
    // Without its consumer the whole stream is delivered again.
    let webhooks = stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap();
    webhooks.delete_consumer(streams::consumer::STATUS).await.unwrap();
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "marker" })).await;
    stack.until_call("marker", doc! {}).await;
    stack.all_acknowledged().await;
    assert_eq!(stack.document(doc! { "callId": "c" }).await, before);
}

#[tokio::test]
async fn documents_of_call_and_conversation_are_merged_without_loss() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.initiated", "call_id": "c", "to_number": "+15005550006", "timestamp": recently() + 1 })).await;
    stack.webhook(&json!({ "event_type": "call.completed", "conversation_id": "v", "agent_id": "a", "timestamp": recently() + 3 })).await;
    stack.all_acknowledged().await;
    stack.document(doc! { "conversationId": "v", "transcriptState": "saved" }).await;
    assert_eq!(stack.count(doc! {}).await, 2);

    stack
        .webhook(
            &json!({ "event_type": "call.ringing", "call_id": "c", "conversation_id": "v", "timestamp": recently() + 2 }),
        )
        .await;
    let call = stack.until_call("c", doc! { "conversationId": "v" }).await;
    assert_eq!(stack.count(doc! {}).await, 1);
    assert_eq!(call.get_str("status").unwrap(), "completed");
    assert_eq!(call.get_str("toNumber").unwrap(), "+15005550006");
    assert_eq!(call.get_str("agentId").unwrap(), "a");
    assert_eq!(call.get_str("transcriptState").unwrap(), "saved");
    assert!(!call.get_array("transcript").unwrap().is_empty());
    let events: Vec<_> = call
        .get_array("history")
        .unwrap()
        .iter()
        .map(|e| e.as_document().unwrap().get_str("eventType").unwrap())
        .collect();
    assert_eq!(events, ["call.initiated", "call.ringing", "call.completed", "post_call_transcription"]);
    assert_eq!(call.get_datetime("createdAt").unwrap().timestamp_millis(), (recently() + 1) * 1000);
}

#[tokio::test]
async fn conversation_stays_with_its_first_call() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "first", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "second", "conversation_id": "v" })).await;
    let second = stack.until_call("second", doc! { "status": "busy" }).await;
    assert!(!second.contains_key("conversationId"));
    stack.until_call("first", doc! { "conversationId": "v", "status": "ringing" }).await;
}

#[tokio::test]
async fn wrong_link_in_a_batch_moves_no_event_to_another_call() {
    let mut stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "right", "conversation_id": "v" })).await;
    stack.all_acknowledged().await;
    stack.workers[0].kill().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "wrong", "conversation_id": "v" })).await;
    stack.webhook(&json!({ "event_type": "call.completed", "conversation_id": "v" })).await;
    stack.workers[0].restart().await;
    stack.until_call("right", doc! { "status": "completed", "transcriptState": "saved" }).await;
    let wrong = stack.until_call("wrong", doc! { "status": "ringing" }).await;
    assert!(!wrong.contains_key("conversationId") && !wrong.contains_key("transcriptState"), "{wrong}");
}

#[tokio::test]
async fn invalid_webhooks_become_dead_letters_and_others_are_applied() {
    let stack = TestStack::start().await;
    #[rustfmt::skip]
    let poison: [(&[u8], &str); 7] = [
        (b"{\"event_type\":",                                        "invalid_json"),
        (b"\xff\xfe",                                                "invalid_json"),
        (b"[1,2]",                                                   "invalid_json"),
        (br#"{"event_type":"call.busy"}"#,                           "no_identifier"),
        (br#"{"event_type":"call.busy","call_id":["x"]}"#,           "invalid_identifier"),
        (br#"{"event_type":"agent.tool_called","call_id":"c"}"#,     "unsupported_event"),
        (br#"{"call_id":"c","status":"busy"}"#,                      "no_event_type"),
    ];
    for (n, (body, _)) in poison.iter().enumerate() {
        // Without the gateway, which would refuse some of the bodies.
        let body = body.to_vec().into();
        stack.jetstream.publish(streams::subject::ELEVENLABS_CALL_STATUS, body).await.unwrap().await.unwrap();
        stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("good-{n}") })).await;
    }
    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! { "status": "busy" }).await, poison.len() as u64);

    until_equal("dead letters", 7, async || stack.stored(streams::DEAD_LETTERS).await).await;
    // Dead letters of webhooks that were parsed together have no defined order.
    let letters = join_all((1..=7).map(|n| stack.message(streams::DEAD_LETTERS, n))).await;
    for (n, (body, reason)) in poison.iter().enumerate() {
        let origin = (2 * n + 1).to_string();
        let header = |letter: &StreamMessage, name: &str| {
            letter.headers.get(name).map(ToString::to_string).unwrap_or_default()
        };
        let is_of_origin = |letter: &&StreamMessage| header(letter, streams::header::DEAD_SEQUENCE) == origin;
        let letter = letters.iter().find(is_of_origin).unwrap();
        assert_eq!(header(letter, streams::header::DEAD_REASON), *reason);
        assert_eq!(letter.payload, *body, "the body is unchanged");
        assert_eq!(header(letter, streams::header::DEAD_STREAM), streams::WEBHOOKS);
    }
}

#[tokio::test]
async fn batch_of_unknown_events_becomes_dead_letters() {
    let stack = TestStack::start().await;
    // Many webhooks at the same time, so that the gateway publishes batches. Their messages keep a header.
    // The gateway first measures whether batches are faster.
    let mut answers = Vec::new();
    let batched = async |n| stack.message(streams::WEBHOOKS, n).await.headers.get("Nats-Batch-Id").is_some();
    let mut seen = false;
    while !seen && answers.len() < 4000 {
        let first = answers.len();
        let bodies: Vec<_> = (first..first + 200)
            .map(|n| json!({ "event_type": "agent.new", "call_id": n.to_string() }))
            .collect();
        answers.extend(join_all(bodies.iter().map(|body| stack.webhook(body))).await);
        let all = answers.len() as u64;
        seen = join_all((all - 199..=all).map(batched)).await.contains(&true);
    }
    assert!(seen, "the gateway published no batch");
    until_equal("dead letters", answers.len() as u64, async || stack.stored(streams::DEAD_LETTERS).await)
        .await;
    stack.all_acknowledged().await;
    let letter = stack.message(streams::DEAD_LETTERS, 1).await;
    let id = letter.headers.get(streams::header::DEAD_ID).unwrap().as_str();
    assert!(answers.iter().any(|answer| answer["id"] == id), "{id}");
}

#[tokio::test]
async fn database_operators_in_payloads_are_stored_as_text() {
    let stack = TestStack::start().await;
    let body = json!({ "event_type": "call.busy", "call_id": "$status", "failure_reason": "$$ROOT",
        "to_number": "$callId", "nested": { "$gt": "", "a.b": [{ "$where": "1" }] }, "unicode": "\u{202e}✓ 電話" });
    stack.webhook(&body).await;
    stack.all_acknowledged().await;
    let call = stack.document(doc! { "callId": { "$eq": "$status" } }).await;
    assert_eq!(call.get_str("failureReason").unwrap(), "$$ROOT");
    assert_eq!(call.get_str("toNumber").unwrap(), "$callId");
    assert_eq!(stack.lookup(json!({ "callSid": "$status" })).await.body["rawResponse"], body);
}

#[tokio::test]
async fn monitoring_queries_return_the_expected_rows_by_an_index() {
    let stack = TestStack::start().await;
    for (n, event) in ["call.busy", "call.busy", "call.rejected", "call.ended"].iter().enumerate() {
        stack.webhook(&json!({ "event_type": event, "call_id": n.to_string() })).await;
    }
    stack.all_acknowledged().await;
    let failed = doc! { "status": { "$in": ["busy", "no_answer", "failed", "unreachable", "rejected", "initiation_failed"] } };
    assert_eq!(stack.count(failed.clone()).await, 3);
    let aggregate = async |pipeline: [Document; 3]| -> Vec<(String, i32)> {
        let groups: Vec<_> = stack.calls.aggregate(pipeline).await.unwrap().collect().await;
        let group = |g: Document| (g.get_str("_id").unwrap().to_owned(), g.get_i32("count").unwrap());
        groups.into_iter().map(|g| group(g.unwrap())).collect()
    };
    let count = |by: &str| doc! { "$group": { "_id": by, "count": { "$sum": 1 } } };
    let by_reason = aggregate([
        doc! { "$match": { "failureReason": { "$ne": null } } },
        count("$failureReason"),
        doc! { "$sort": { "count": -1 } },
    ]);
    let expected = [("Recipient was busy".to_owned(), 2), ("Call was rejected by recipient".to_owned(), 1)];
    assert_eq!(by_reason.await, expected);
    let since = mongodb::bson::DateTime::from_millis(jiff::Timestamp::now().as_millisecond() - 86_400_000);
    let by_status = aggregate([
        doc! { "$match": { "createdAt": { "$gte": since } } },
        count("$status"),
        doc! { "$sort": { "_id": 1 } },
    ]);
    let expected = [("busy", 2), ("ended", 1), ("rejected", 1)].map(|(status, n)| (status.to_owned(), n));
    assert_eq!(by_status.await, expected);

    let database = stack.calls.client().database(&stack.calls.namespace().db);
    for filter in [failed, doc! { "failureReason": { "$ne": null } }, doc! { "createdAt": { "$gte": since } }]
    {
        let find = doc! { "explain": { "find": "agent_calls", "filter": filter } };
        let plan = database.run_command(find).await.unwrap().to_string();
        assert!(plan.contains("IXSCAN") && !plan.contains("COLLSCAN"), "{plan}");
    }
}
