//! Failures of database commands: before or after their effect, with an error or with a closed connection. No
//! event is lost, applied twice or made a dead letter.

use aftercall_common::contract::streams;
use futures_util::future::join_all;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use serde_json::json;

use crate::harness::{TestStack, recently};

/// The name of the clients whose commands fail: the workers, not the tests.
const WORKER: &str = "aftercall-worker";

/// Runs an administrative command.
async fn admin(stack: &TestStack, command: Document) -> Document {
    let client = Client::with_uri_str(stack.mongo.uri()).await.unwrap();
    client.database("admin").run_command(command).await.unwrap()
}

/// Makes the next `times` of these commands of the worker fail. `data` configures `failCommand`.
async fn fail(stack: &TestStack, times: i32, commands: &[&str], data: Document) {
    let mut data = data;
    data.insert("failCommands", commands);
    data.insert("appName", WORKER);
    admin(stack, doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data })
        .await;
}

/// Ends the failures. Returns the number of commands that have failed since the start of the server.
async fn stop_failing(stack: &TestStack) -> i64 {
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let answer = admin(stack, off).await;
    answer.get_i64("count").or_else(|_| answer.get_i32("count").map(i64::from)).unwrap()
}

#[tokio::test]
async fn database_errors_neither_lose_nor_repeat_events_nor_make_dead_letters() {
    let stack = TestStack::builder().own_mongod().start().await;
    let labelled = |code: i32| doc! { "errorCode": code, "errorLabels": ["RetryableWriteError"] };
    #[rustfmt::skip]
    let table = [
        ("stepped down",            &["update"][..], doc! { "errorCode": 189 }),
        ("not primary, labelled",   &["update"],     labelled(10_107)),
        ("shutting down, labelled", &["update"],     labelled(91)),
        ("write conflict",          &["update"],     doc! { "errorCode": 112 }),
        ("time limit exceeded",            &["update"],     doc! { "errorCode": 50 }),
        ("unauthorized",    &["update"],     doc! { "errorCode": 13 }),
        ("closed at an update",          &["update"],     doc! { "closeConnection": true }),
        ("written, majority unknown",        &["update"], doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } }),
        ("written, then shutting down",      &["update"], doc! { "writeConcernError": { "code": 91, "errmsg": "shutting down" } }),
        ("closed at a read",     &["find"],       doc! { "closeConnection": true }),
        ("closed at a commit",          &["commitTransaction"], doc! { "closeConnection": true }),
        ("commit, outcome unknown", &["commitTransaction"], doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } }),
        ("transaction aborted",     &["update", "insert", "delete", "findAndModify"], doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] }),
    ];
    let mut before = stop_failing(&stack).await;
    for (n, (name, commands, data)) in table.iter().enumerate() {
        fail(&stack, 2, commands, data.clone()).await;
        // Two documents of a call, and an event that merges them: updates, and a transaction.
        let (call, conversation) = (format!("c{n}"), format!("v{n}"));
        stack.webhook(&json!({ "event_type": "call.ringing", "call_id": call })).await;
        stack.webhook(&json!({ "event_type": "call.answered", "conversation_id": conversation })).await;
        stack.all_acknowledged().await;
        let end = json!({ "event_type": "call.ended", "call_id": call, "conversation_id": conversation });
        stack.webhook(&end).await;
        let found =
            stack.until_call(&call, doc! { "status": "ended", "conversationId": &conversation }).await;
        let events = found.get_array("history").unwrap().iter().filter_map(|entry| entry.as_document());
        let events = events.filter(|entry| entry.get_str("eventType").unwrap().starts_with("call."));
        assert_eq!(events.count(), 3, "{name}");
        stack.all_acknowledged().await;
        let failed = stop_failing(&stack).await;
        assert!(failed > before, "{name}: no command failed");
        before = failed;
    }
    assert_eq!(stack.count(doc! {}).await, table.len() as u64);
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn an_event_that_is_stored_already_is_acknowledged_only_when_a_majority_has_it() {
    let stack = TestStack::builder().own_mongod().start().await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "c" })).await;
    stack.all_acknowledged().await;
    let before = stop_failing(&stack).await;
    // The first attempt writes the event. The next ones find it, and have to wait for the majority all the same.
    let unknown = doc! { "writeConcernError": { "code": 64, "errmsg": "waiting for replication timed out" } };
    fail(&stack, 3, &["update"], unknown).await;
    stack.webhook(&json!({ "event_type": "call.answered", "call_id": "c" })).await;
    stack.all_acknowledged().await;
    assert_eq!(stop_failing(&stack).await - before, 3);
    assert_eq!(stack.count(doc! { "status": "answered", "history": { "$size": 2 } }).await, 1);
}

#[tokio::test]
async fn primary_that_steps_down_repeatedly_loses_nothing() {
    let stack = TestStack::builder().own_mongod().start().await;
    let posts = async {
        for round in 0..6 {
            let webhook = async |n| {
                stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("c{round}-{n}") })).await
            };
            join_all((0..50).map(webhook)).await;
        }
    };
    let step_downs = async {
        for _ in 0..3 {
            let down = doc! { "replSetStepDown": 1, "secondaryCatchUpPeriodSecs": 0, "force": true };
            let client = Client::with_uri_str(stack.mongo.uri()).await.unwrap();
            client.database("admin").run_command(down).await.unwrap();
            // A read succeeds once the server is primary again.
            stack.count(doc! {}).await;
        }
    };
    tokio::join!(posts, step_downs);
    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! { "status": "busy" }).await, 300);
    assert_eq!(stack.count(doc! { "history.1": { "$exists": true } }).await, 0, "an event was applied twice");
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn replay_saves_a_recording_again_after_a_failure_of_the_database() {
    let stack = TestStack::builder().own_mongod().start().await;
    // `audio`, in base64.
    let audio = json!({ "agent_id": "a", "conversation_id": "v", "full_audio": "YXVkaW8=" });
    let event = json!({ "type": "post_call_audio", "event_timestamp": recently(), "data": audio });
    stack.webhook(&event).await;
    stack.all_acknowledged().await;
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let recordings = database.collection::<Document>("recordings.files");
    assert_eq!(recordings.delete_many(doc! {}).await.unwrap().deleted_count, 1);

    let before = stop_failing(&stack).await;
    // The driver repeats a write once, so the second failure reaches the command.
    let data = doc! { "errorCode": 91, "errorLabels": ["RetryableWriteError"] };
    fail(&stack, 2, &["insert"], data).await;
    let (code, said, stderr) = stack.command(&["replay"], &[]).await;
    assert_eq!((code, &*said), (Some(0), "1 webhooks applied, 0 unreadable\n"), "{stderr}");
    assert_eq!(stop_failing(&stack).await - before, 2);
    assert_eq!(recordings.count_documents(doc! {}).await.unwrap(), 1);
}
