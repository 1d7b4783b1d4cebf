//! A subscriber and an endpoint that are away while calls change and workers are killed.

use std::{collections::BTreeMap, time::Duration};

use aftercall_common::contract::streams::CALLS;
use async_nats::jetstream::consumer::pull;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::doc;
use serde_json::{Value, json};

use super::{Answer, Receiver, add};
use crate::harness::{TestStack, within_more};

/// Number of calls. `AFTERCALL_TEST_CALLS` sets another number.
const CALLS_BY_DEFAULT: usize = 200;
/// Requests at a time.
const PARALLEL: usize = 16;
/// Times that a worker is killed.
const KILLS: usize = 10;
/// The kill from which the endpoint is away: a second failed attempt would cost five minutes.
const AWAY_FROM: usize = 8;
/// Time until the broker delivers the messages of a killed worker again, and until the second attempt.
const REDELIVERY: Duration = Duration::from_mins(6);

/// Status and outcome of each call.
type Finals = BTreeMap<String, (String, String)>;

fn calls() -> usize {
    let set = std::env::var_os("AFTERCALL_TEST_CALLS");
    let number = |set: std::ffi::OsString| set.to_str().and_then(|number| number.parse().ok());
    set.map_or(CALLS_BY_DEFAULT, |set| number(set).expect("AFTERCALL_TEST_CALLS is a number"))
}

async fn post(stack: &TestStack, event: &str, calls: std::ops::Range<usize>) {
    let post = |call| async move {
        let body = json!({ "event_type": event, "call_id": format!("c{call}"), "agent_id": "agent" });
        stack.webhook_until_accepted(&body).await;
    };
    stream::iter(calls).for_each_concurrent(PARALLEL, post).await;
}

/// The state in the event with the greatest revision of each call. Panics if `is_ordered` and the revisions of a
/// call go back.
fn last_states(events: impl Iterator<Item = Value>, is_ordered: bool) -> Finals {
    let mut last: BTreeMap<String, (i64, Value)> = BTreeMap::new();
    for event in events {
        let data = &event["data"];
        let (call, revision) = (data["callId"].as_str().unwrap(), data["revision"].as_i64().unwrap());
        let known = last.entry(call.to_owned()).or_default();
        assert!(!is_ordered || known.0 <= revision, "{event} comes after revision {}", known.0);
        if known.0 <= revision {
            *known = (revision, data.clone());
        }
    }
    let text = |data: &Value, field: &str| data[field].as_str().unwrap_or_default().to_owned();
    last.into_iter()
        .map(|(call, (_, data))| (call, (text(&data, "status"), text(&data, "outcome"))))
        .collect()
}

async fn stored(stack: &TestStack) -> Finals {
    let documents = stack.calls.find(doc! {}).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let text =
        |document: &mongodb::bson::Document, field| document.get_str(field).unwrap_or_default().to_owned();
    documents
        .iter()
        .map(|call| (text(call, "callId"), (text(call, "status"), text(call, "outcome"))))
        .collect()
}

/// Waits until `receiver` has the final state of every call.
async fn until_complete(what: &str, receiver: &Receiver, wanted: &Finals) {
    let complete = async {
        let accepted = || receiver.received().into_iter().filter(|received| received.status == 200);
        while last_states(accepted().map(|received| received.json()), false) != *wanted {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    within_more(what, REDELIVERY, complete).await;
}

/// Every message of the stream, as a subscriber with a durable consumer gets it.
async fn subscribed(
    stack: &TestStack,
    consumer: async_nats::jetstream::consumer::PullConsumer,
) -> Vec<Value> {
    let count = stack.stored(CALLS).await;
    let mut messages = consumer.messages().await.unwrap();
    let mut events = Vec::new();
    while (events.len() as u64) < count {
        let message = messages.next().await.unwrap().unwrap();
        events.push(serde_json::from_slice(&message.payload).unwrap());
        message.ack().await.unwrap();
    }
    events
}

#[tokio::test]
async fn those_who_were_away_get_every_final_state() {
    let setup = TestStack::builder().worker_env("ROLES", "status,deliver");
    let mut stack = setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true").start().await;
    stack.add_worker().await;
    let consumer = pull::Config { durable_name: Some("crm".to_owned()), ..pull::Config::default() };
    let subscriber = stack.jetstream.create_consumer_on_stream(consumer, CALLS).await.unwrap();
    let (away, present) = (Receiver::accepting().await, Receiver::accepting().await);
    for receiver in [&away, &present] {
        add(&stack, &receiver.url("/"), &[]).await;
    }
    let calls = calls();
    for kill in 0..KILLS {
        if kill == AWAY_FROM {
            away.answer(|_| Answer::status(503));
        }
        let some = kill * calls / KILLS..(kill + 1) * calls / KILLS;
        post(&stack, "call.initiated", some.clone()).await;
        let outcome = ["call.busy", "call.no_answer", "call.completed"][kill % 3];
        let changing = post(&stack, outcome, some.clone());
        tokio::time::timeout(Duration::from_millis(300), changing).await.ok();
        // Whichever of the two leads now, it is killed in some of the rounds.
        let victim = (kill / 2) % 2;
        stack.workers[victim].kill().await;
        stack.workers[victim].restart().await;
        post(&stack, outcome, some).await;
    }
    away.answer(|_| Answer::status(200));
    within_more("webhooks", REDELIVERY, async {
        while stack.backlog().await != Some((0, 0)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let wanted = stored(&stack).await;
    assert_eq!(wanted.len(), calls);
    until_complete("the endpoint that was present has every state", &present, &wanted).await;
    until_complete("the endpoint that was away has every state", &away, &wanted).await;
    let events = subscribed(&stack, subscriber).await;
    assert_eq!(last_states(events.into_iter(), true), wanted);
}
