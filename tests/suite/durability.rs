//! An accepted webhook is never lost, whichever process is killed or hangs.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_local::process::Signal;
use async_nats::jetstream::{AckKind, consumer::pull};
use futures_util::{StreamExt as _, future::join_all};
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{CALL_STATUS, Load, TestStack, nothing_lost, scaled, scaled_setting, until};

#[tokio::test]
async fn broker_killed_under_load_loses_no_accepted_webhook() {
    let mut stack = TestStack::start().await;
    let load = Load::on(&stack);
    let faults = async {
        for _ in 0..2 {
            load.more(200).await;
            stack.nats.kill().await.unwrap();
            stack.gateway.until_unready(&stack.http).await;
            stack.nats.restart().await.unwrap();
        }
        load.more(200).await;
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
}

#[tokio::test]
async fn broker_that_hangs_leads_to_503_and_late_publishes_are_duplicates() {
    let mut stack = TestStack::builder().gateway_env("PUBLISH_TIMEOUT", "300ms").start().await;
    stack.nats.freeze().unwrap();
    let bodies: Vec<_> =
        (0..20).map(|n| json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).collect();
    let answers = join_all(bodies.iter().map(|body| stack.post_to(CALL_STATUS, body.to_string()))).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.code()), (503, "not_stored"));
    }
    stack.nats.thaw().unwrap();
    for body in &bodies {
        stack.webhook_until_accepted(body).await;
    }
    stack.all_acknowledged().await;
    // A publish that the broker stored after the timeout has the same id as its repetition.
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 20);
    assert_eq!(stack.count(doc! { "status": "busy" }).await, 20);
}

#[tokio::test]
async fn unavailable_broker_leads_to_503_at_once() {
    let setup = TestStack::builder().without_worker();
    let mut stack =
        setup.gateway_env("PUBLISH_TIMEOUT", &scaled_setting(Duration::from_secs(20))).start().await;
    stack.nats.kill().await.unwrap();
    stack.gateway.until_unready(&stack.http).await;
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(r#"{"call_id":"c"}"#);
    // Far below PUBLISH_TIMEOUT.
    let answer = request.timeout(scaled(Duration::from_secs(4))).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    stack.nats.restart().await.unwrap();
    stack.webhook_until_accepted(&json!({ "call_id": "c" })).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1);
}

#[tokio::test]
async fn database_killed_under_load_loses_nothing() {
    let mut stack = TestStack::builder().own_mongod().start().await;
    let load = Load::on(&stack);
    let faults = async {
        load.more(200).await;
        stack.mongo.process().kill().await.unwrap();
        load.more(200).await; // The gateway needs no database.
        stack.mongo.process().restart().await.unwrap();
        load.more(200).await;
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
}

#[tokio::test]
async fn database_that_hangs_loses_nothing() {
    let mut stack = TestStack::builder().own_mongod().start().await;
    stack.mongo.process().freeze().unwrap();
    for n in 0..50 {
        stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).await;
    }
    stack.workers[0].until_unready(&stack.http).await;
    // The worker reports progress in the meantime. Without it the broker would deliver the messages again.
    tokio::time::sleep(streams::ACK_WAIT + streams::ACK_WAIT / 5).await;
    stack.mongo.process().thaw().unwrap();
    let all: Vec<_> = (0..50).map(|n| format!("c{n}")).collect();
    nothing_lost(&stack, &all).await;
    let metrics = stack.workers[0].metrics(&stack.http).await;
    assert!(metrics.contains("aftercall_redeliveries_total{consumer=\"status\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn workers_killed_during_batches_lose_nothing() {
    let mut stack = TestStack::start().await;
    stack.add_worker().await;
    let load = Load::on(&stack);
    let faults = async {
        for round in 0..4 {
            load.more(300).await;
            let worker = &mut stack.workers[round % 2];
            worker.kill().await;
            worker.restart().await;
        }
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
    let histories = stack.calls.distinct("history.1", doc! {}).await.unwrap();
    assert!(histories.is_empty(), "an event was applied twice: {histories:?}");
}

#[tokio::test]
async fn stopping_worker_returns_unfinished_messages_to_the_broker() {
    let mut stack = TestStack::builder().own_mongod().start().await;
    stack.mongo.process().freeze().unwrap();
    let all: Vec<_> = (0..600).map(|n| format!("c{n}")).collect();
    let body = |id: &String| json!({ "event_type": "call.busy", "call_id": id });
    join_all(all.iter().map(async |id| stack.webhook(&body(id)).await)).await;
    until("webhooks are delivered", async || {
        stack.backlog().await.filter(|(_, unacknowledged)| *unacknowledged > 0)
    })
    .await;
    // The broker itself would deliver a message again only after an hour.
    let (stream, config) = streams::consumers().into_iter().next().unwrap();
    let config = pull::Config { ack_wait: Duration::from_hours(1), ..config };
    let consumer = stack.jetstream.create_consumer_on_stream(config, stream).await.unwrap();
    stack.workers[0].signal(Signal::SIGTERM);
    assert!(stack.workers[0].ended().await.success());
    let request = consumer.fetch().group(streams::consumer::WORKERS).max_messages(all.len());
    let returned: Vec<_> =
        request.expires(scaled(Duration::from_secs(3))).messages().await.unwrap().collect().await;
    assert_eq!(returned.len(), all.len());
    for message in returned {
        message.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
    }
    stack.mongo.process().thaw().unwrap();
    stack.add_worker().await;
    nothing_lost(&stack, &all).await;
}

#[tokio::test]
async fn gateway_killed_under_load_loses_no_accepted_webhook() {
    let mut stack = TestStack::start().await;
    let load = Load::on(&stack);
    let faults = async {
        for _ in 0..2 {
            load.more(200).await;
            stack.gateway.kill().await;
            stack.gateway.restart().await;
        }
        load.more(200).await;
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
}

#[tokio::test]
async fn full_stream_refuses_webhooks_and_evicts_none() {
    let stack = TestStack::builder().without_worker().start().await;
    let mut config =
        stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone();
    config.max_messages = 3;
    stack.jetstream.update_stream(config).await.unwrap();
    let posts = (0..10).map(|n| stack.post_to(CALL_STATUS, json!({ "call_id": n.to_string() }).to_string()));
    let answers = join_all(posts).await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(accepted, 3);
    assert!(
        answers.iter().all(|answer| answer.status == 200 || answer.code() == "not_stored"),
        "{answers:?}"
    );
    assert_eq!(stack.stored(streams::WEBHOOKS).await, accepted as u64);
}

#[tokio::test]
async fn deleted_stream_and_consumer_are_created_again() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "before" })).await;
    stack.all_acknowledged().await;
    stack.jetstream.delete_stream(streams::WEBHOOKS).await.unwrap();
    for id in ["a", "b", "c"] {
        stack.webhook_until_accepted(&json!({ "event_type": "call.busy", "call_id": id })).await;
    }
    for id in ["before", "a", "b", "c"] {
        stack.until_call(id, doc! { "status": "busy" }).await;
    }
    let consumers = stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap();
    consumers.delete_consumer(streams::consumer::STATUS).await.unwrap();
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "d" })).await;
    stack.until_call("d", doc! { "status": "busy" }).await;
    stack.all_acknowledged().await;
    assert_eq!(
        stack.count(doc! { "history.1": { "$exists": true } }).await,
        0,
        "an event that was delivered again was applied twice"
    );
}

#[tokio::test]
async fn worker_pulls_again_as_soon_as_the_broker_is_back() {
    let mut stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "before" })).await;
    stack.all_acknowledged().await;
    stack.nats.kill().await.unwrap();
    stack.nats.restart().await.unwrap();
    stack.webhook_until_accepted(&json!({ "event_type": "call.busy", "call_id": "after" })).await;
    stack.until_call("after", doc! { "status": "busy" }).await;
    let log = stack.workers[0].log();
    assert!(
        !log.contains("consuming was interrupted"),
        "the worker waited for a pull request that the restarted broker does not know: {log}"
    );
}
