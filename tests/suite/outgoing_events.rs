//! Outgoing events: the stream `CALLS`.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aftercall_common::contract::streams::CALLS;
use aftercall_worker::store::{Position, Scanned};
use async_nats::header::NATS_MESSAGE_ID;
use futures_util::future::join_all;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Mongo, TestStack, recently, until, until_equal},
    inserts,
};

/// A message of the stream `CALLS`.
#[derive(Debug)]
struct Event {
    id: String,
    subject: String,
    body: Value,
}

impl Event {
    fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    fn call_id(&self) -> &str {
        self.body["data"]["callId"].as_str().unwrap_or_default()
    }

    fn revision(&self) -> i64 {
        self.body["data"]["revision"].as_i64().unwrap()
    }
}

/// All messages of the stream, in their order.
async fn events(stack: &TestStack) -> Vec<Event> {
    let stream = stack.jetstream.get_stream(CALLS).await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let messages = join_all((1..=last).map(|sequence| stream.get_raw_message(sequence))).await;
    let event = |message: async_nats::jetstream::message::StreamMessage| Event {
        id: message.headers.get(NATS_MESSAGE_ID).unwrap().to_string(),
        subject: message.subject.to_string(),
        body: serde_json::from_slice(&message.payload).unwrap(),
    };
    messages.into_iter().map(|message| event(message.unwrap())).collect()
}

/// Checks that the events of each call are in the order of its revisions, that no id occurs twice, and that the
/// last event of each call has the status and outcome that are stored.
async fn complete_and_in_order(stack: &TestStack, calls: usize) {
    let finals = async || {
        let mut last = HashMap::new();
        for event in events(stack).await {
            last.insert(event.call_id().to_owned(), event.body["data"].clone());
        }
        let mut differing = calls.abs_diff(last.len());
        for (call_id, data) in last {
            let stored = stack.calls.find_one(doc! { "callId": &call_id }).await.unwrap().unwrap();
            for field in ["status", "outcome"] {
                differing += usize::from(data[field].as_str() != stored.get_str(field).ok());
            }
        }
        differing
    };
    until_equal("calls whose last event differs from the document", 0, finals).await;
    let mut revisions: BTreeMap<String, i64> = BTreeMap::new();
    let mut ids = std::collections::HashSet::new();
    for event in events(stack).await {
        let last = revisions.entry(event.call_id().to_owned()).or_default();
        assert!(*last <= event.revision(), "{event:?} comes after revision {last}");
        *last = event.revision();
        assert!(ids.insert(event.id.clone()), "{} occurs twice", event.id);
    }
}

/// A stack whose worker has scanned the calls and follows the changes. A call that changes during the scan may have
/// its first events twice, with different revisions.
async fn following() -> TestStack {
    let stack = TestStack::start().await;
    until_position(&stack).await;
    stack
}

/// The collection with the position of the last published change.
fn positions(stack: &TestStack) -> Collection<Document> {
    stack.calls.client().database(&stack.calls.namespace().db).collection("deliver")
}

/// Waits until the position of a change is stored.
async fn until_position(stack: &TestStack) -> Document {
    let (state, read) = (positions(stack), doc! { "token": { "$ne": null } });
    until("a position is stored", async || state.find_one(read.clone()).await.unwrap()).await
}

async fn post(stack: &TestStack, call: usize, event: &str, at: i64) {
    let body = json!({
        "event_type": event, "call_id": format!("c{call}"), "timestamp": recently() + at,
        "to_number": "+12025550100", "agent_id": "agent_1",
    });
    stack.webhook_until_accepted(&body).await;
}

#[tokio::test]
async fn every_change_of_a_call_is_published_with_the_call_as_the_api_gives_it() {
    let stack = following().await;
    post(&stack, 0, "call.initiated", 0).await;
    stack.until_call("c0", doc! { "status": "initiated" }).await;
    until("the first event", async || (stack.stored(CALLS).await >= 2).then_some(())).await;
    post(&stack, 0, "call.busy", 1).await;
    let stored = stack.until_call("c0", doc! { "status": "busy" }).await;
    until("the last events", async || (stack.stored(CALLS).await >= 4).then_some(())).await;

    let events = events(&stack).await;
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["call.created", "call.status", "call.status", "call.outcome"]);
    let subjects: Vec<_> = events.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!(subjects, ["calls.created", "calls.status", "calls.status", "calls.outcome"]);
    let last = &events[3];
    let document = stored.get_object_id("_id").unwrap();
    assert_eq!(last.id, format!("{document}:{}:call.outcome", stored.get_i64("revision").unwrap()));
    let data = &last.body["data"];
    assert_eq!((&data["status"], &data["outcome"]), (&json!("busy"), &json!("busy")));
    assert_eq!((&data["toNumber"], &data["agentId"]), (&json!("+12025550100"), &json!("agent_1")));
    for absent in ["rawResponse", "history", "transcript", "_id", "conversationId"] {
        assert!(data.get(absent).is_none(), "{absent} in {data}");
    }
    assert_eq!(last.body["timestamp"], data["updatedAt"]);
    assert_eq!(events[0].revision(), events[1].revision());
    assert!(events[1].revision() < last.revision());
}

#[tokio::test]
async fn an_event_that_changes_nothing_is_not_published() {
    let stack = following().await;
    for (event, at) in [("call.initiated", 0), ("call.busy", 5)] {
        post(&stack, 0, event, at).await;
    }
    until_equal("busy is published", true, async || {
        events(&stack).await.iter().any(|event| event.kind() == "call.outcome")
    })
    .await;
    let published = stack.stored(CALLS).await;
    let before = stack.until_call("c0", doc! { "status": "busy" }).await;
    post(&stack, 0, "call.ringing", 2).await;
    stack.until_call("c0", doc! { "history.2": { "$exists": true } }).await;
    let (code, said, _) = stack.command(&["replay"], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    post(&stack, 1, "call.busy", 0).await;
    complete_and_in_order(&stack, 2).await;
    let of_first = events(&stack).await.iter().filter(|event| event.call_id() == "c0").count() as u64;
    assert_eq!(of_first, published);
    let after = stack.until_call("c0", doc! {}).await;
    assert!(after.get_i64("revision").unwrap() > before.get_i64("revision").unwrap(), "the history grew");
}

#[tokio::test]
async fn nothing_is_missing_when_leaders_are_killed() {
    let mut stack = TestStack::start().await;
    stack.add_worker().await;
    for round in 0..4 {
        let calls = round * 50..(round + 1) * 50;
        join_all(calls.clone().map(async |call| post(&stack, call, "call.initiated", 0).await)).await;
        // The leader is killed while it publishes, and the worker without a lease takes over.
        let victim = round % 2;
        join_all(calls.map(async |call| post(&stack, call, "call.no_answer", 1).await)).await;
        stack.workers[victim].kill().await;
        stack.workers[victim].restart().await;
    }
    stack.all_acknowledged().await;
    complete_and_in_order(&stack, 200).await;
}

#[tokio::test]
async fn lost_history_of_the_database_is_replaced_by_a_scan() {
    let mut stack = TestStack::start().await;
    post(&stack, 0, "call.initiated", 0).await;
    complete_and_in_order(&stack, 1).await;
    let position = until_position(&stack).await;
    stack.workers[0].kill().await;
    // The server cannot read this token. It refuses it like a token whose changes its history no longer has.
    assert!(position.get_document("token").unwrap().contains_key("_data"), "{position}");
    let token = doc! { "$set": { "token": { "_data": "00" } } };
    positions(&stack).update_one(doc! {}, token).await.unwrap();
    post(&stack, 1, "call.busy", 0).await;
    stack.workers[0].restart().await;
    complete_and_in_order(&stack, 2).await;
    assert!(
        stack.workers[0].log().contains("MongoDB no longer has all changes"),
        "{}",
        stack.workers[0].log()
    );
}

#[tokio::test]
async fn first_scan_that_did_not_end_begins_at_the_same_time_again() {
    let mut stack = following().await;
    stack.workers[0].kill().await;
    let hours_ago =
        |hours: i64| DateTime::from_millis(DateTime::now().timestamp_millis() - hours * 3_600_000);
    let begin = doc! { "$set": { "token": null, "time": hours_ago(2) } };
    positions(&stack).update_one(doc! {}, begin).await.unwrap();
    for (call_id, hours) in [("before", 3), ("since", 1)] {
        let revision = hours_ago(hours).timestamp_millis();
        let call = doc! { "callId": call_id, "status": "busy", "outcome": "busy", "revision": revision };
        stack.calls.insert_one(call).await.unwrap();
    }
    stack.workers[0].restart().await;
    until("events", async || (stack.stored(CALLS).await >= 2).then_some(())).await;
    post(&stack, 0, "call.busy", 0).await;
    until_equal("the call after the scan is published", true, async || {
        events(&stack).await.iter().any(|event| event.call_id() == "c0")
    })
    .await;
    let events = events(&stack).await;
    assert!(events.iter().any(|event| event.call_id() == "since"), "{events:?}");
    assert!(!events.iter().any(|event| event.call_id() == "before"), "{events:?}");
}

#[tokio::test]
async fn scan_finds_the_changed_documents_of_many_pages() {
    let mongo = Mongo::shared().await;
    let (store, calls) = inserts::store(&mongo, "scanning").await;
    let call = |n: i32| doc! { "callId": n.to_string(), "revision": i64::from(n % 1500) };
    let inserted = calls.insert_many((0..4500).map(call)).await.unwrap().inserted_ids;
    // Not written by a worker, and before all others.
    calls.insert_one(doc! { "_id": "text", "revision": 5000_i64 }).await.unwrap();
    let (mut found, mut last, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.scan(Scanned::Calls, 1499, last, 2000).await.unwrap();
        found.extend(page.changed);
        pages += 1;
        last = page.next;
        if last.is_none() {
            break;
        }
    }
    let changed = [1499, 2999, 4499].map(|n: usize| inserted[&n].as_object_id().unwrap());
    assert_eq!((found, pages), (changed.to_vec(), 3));
}

#[tokio::test]
async fn forget_publishes_that_the_call_was_erased_and_erases_its_events() {
    let stack = TestStack::start().await;
    post(&stack, 0, "call.busy", 0).await;
    post(&stack, 1, "call.busy", 0).await;
    complete_and_in_order(&stack, 2).await;
    let (code, said, stderr) = stack.command(&["forget", "--call-id", "c0", "--yes"], &[]).await;
    assert_eq!(code, Some(0), "{said}{stderr}");
    let erased = until("the erased event", async || {
        let found = stack.jetstream.get_stream(CALLS).await.unwrap();
        found.get_last_raw_message_by_subject("calls.erased").await.ok()
    })
    .await;
    let body: Value = serde_json::from_slice(&erased.payload).unwrap();
    assert_eq!((&body["type"], &body["data"]["callId"]), (&json!("call.erased"), &json!("c0")));
    assert!(body["data"].get("toNumber").is_none(), "{body}");
    let stream = stack.jetstream.get_stream(CALLS).await.unwrap();
    for sequence in 1..erased.sequence {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            assert!(
                !String::from_utf8_lossy(&message.payload).contains("\"c0\""),
                "message {sequence} is kept"
            );
        }
    }
}

/// The position of a stream that begins now.
fn beginning() -> Position {
    Position { token: None, time: Timestamp::now() }
}

#[tokio::test]
async fn change_streams_open_while_calls_change() {
    let mongo = Mongo::shared().await;
    let (store, calls) = inserts::store(&mongo, "opening").await;
    let status = |n: u32| doc! { "$set": { "status": if n.is_multiple_of(2) { "ringing" } else { "busy" } } };
    calls.insert_one(doc! { "callId": "c" }).await.unwrap();
    let stop = CancellationToken::new();
    let writing = (0..4).map(|_| async {
        for n in 0.. {
            if stop.is_cancelled() {
                return;
            }
            calls.update_one(doc! { "callId": "c" }, status(n)).await.unwrap();
        }
    });
    let opening = async {
        let _stops = stop.clone().drop_guard();
        let mut without_position = 0;
        for _ in 0..20 {
            let mut changes = store.changes_since(beginning()).await.unwrap();
            without_position += usize::from(changes.position().token.is_none());
            while changes.next().await.unwrap().0.is_none() {}
        }
        without_position
    };
    let (without_position, _) = tokio::join!(opening, join_all(writing));
    assert!(without_position > 0, "no stream began with a change, so the test shows nothing");
}

#[tokio::test]
async fn continued_change_stream_keeps_the_time_of_its_position() {
    let mongo = Mongo::shared().await;
    let (store, calls) = inserts::store(&mongo, "continuing").await;
    let (nothing, position) = store.changes_since(beginning()).await.unwrap().next().await.unwrap();
    assert_eq!(nothing, None);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    calls.insert_one(doc! { "callId": "c" }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let opened = Timestamp::now();
    let mut changes = store.changes_since(position.clone()).await.unwrap();
    assert_eq!(changes.position().time, position.time, "nothing was read yet");
    let (change, after) = changes.next().await.unwrap();
    assert!(change.is_some() && after.time < opened, "{} is after {opened}", after.time);
}
