//! The spool first (`SPOOL=first`): a 200 follows the sync of the gateway's own disk, and the broker gets the webhook
//! right after.

use std::path::Path;

use aftercall_common::contract::streams;
use aftercall_local::{nats, ports};
use async_nats::jetstream;
use futures_util::future::join_all;
use mongodb::bson::doc;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, TestStack, TestStackBuilder, until_equal, value};

fn setup(folder: &Path) -> TestStackBuilder {
    let folder = folder.to_str().unwrap();
    TestStack::builder().gateway_env("SPOOL", "first").gateway_env("SPOOL_DIR", folder)
}

fn busy(n: usize) -> Value {
    json!({ "event_type": "call.busy", "call_id": format!("c{n:03}") })
}

async fn until_empty(stack: &TestStack) {
    let webhooks = async || {
        let page = stack.gateway.metrics(&stack.http).await;
        [
            "aftercall_spool_webhooks",
            "aftercall_spool_bytes",
            "aftercall_spool_oldest_timestamp_seconds{mode=\"first\"}",
        ]
        .map(|series| value(&page, series))
    };
    until_equal("the spool", [Some(0.0); 3], webhooks).await;
}

#[tokio::test]
async fn webhooks_reach_the_stream_in_the_order_of_their_answers_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let monitor = ports::free().unwrap();
    let broker = nats::Options { monitor, sync_always: true, ..nats::Options::default() };
    let url = format!("http://127.0.0.1:{monitor}");
    let stack = setup(folder.path()).nats(broker).gateway_env("NATS_MONITOR_URL", &url).start().await;
    for n in 0..100 {
        let answer = stack.webhook(&busy(n)).await;
        assert_eq!((&answer["spooled"], &answer["sequence"]), (&json!(true), &Value::Null), "{answer}");
        assert_eq!(answer["duplicate"], false, "{answer}");
    }
    assert_eq!(stack.webhook(&busy(50)).await["duplicate"], true);
    until_equal("busy calls", 100, async || stack.count(doc! { "status": "busy" }).await).await;
    until_empty(&stack).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 100, "each webhook is stored once");
    for n in 0..100 {
        let message = stack.message(streams::WEBHOOKS, n + 1).await;
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(body["call_id"], format!("c{n:03}"));
        assert!(message.headers.get("Aftercall-Received-At").is_some());
    }
    let grade = "aftercall_durability_grade{grade=\"synced-local\"}";
    until_equal("grade", Some(1.0), async || value(&stack.gateway.metrics(&stack.http).await, grade)).await;
    assert!(stack.gateway.log().contains("a 200 means that the webhook is on the gateway's disk"));
    // One line for each webhook, as without the spool, and none that looks like an outage.
    assert!(!stack.gateway.log().contains("webhook spooled"), "{}", stack.gateway.log());
}

#[tokio::test]
async fn webhooks_of_a_killed_gateway_are_published_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = setup(folder.path()).start().await;
    stack.nats.freeze().unwrap();
    for answer in join_all((0..100).map(|n| stack.post_to(CALL_STATUS, busy(n).to_string()))).await {
        assert_eq!((answer.status, &answer.body["spooled"]), (200, &json!(true)), "{}", answer.body);
    }
    stack.gateway.kill().await;
    stack.nats.thaw().unwrap();
    stack.gateway.restart().await;
    until_equal("busy calls", 100, async || stack.count(doc! { "status": "busy" }).await).await;
    until_empty(&stack).await;
}

#[tokio::test]
async fn a_stopping_gateway_publishes_what_its_spool_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = setup(folder.path()).without_worker().start().await;
    // A gateway with a spool is ready before it has created the streams.
    stack.gateway.until_part(&stack.http, "stream", "ok").await;
    join_all((0..300).map(|n| stack.post_to(CALL_STATUS, busy(n).to_string()))).await;
    stack.gateway.signal(Signal::SIGTERM);
    assert!(stack.gateway.ended().await.success());
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 300);
}

#[tokio::test]
async fn a_webhook_that_the_spool_has_no_room_for_goes_to_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path()).gateway_env("SPOOL_MAX_BYTES", "3000");
    let mut stack = setup.gateway_env("PUBLISH_TIMEOUT", "300ms").start().await;
    // A gateway whose spool has room is ready before the broker has the stream.
    stack.gateway.until_part(&stack.http, "stream", "ok").await;
    let mut large = busy(900);
    large["padding"] = "x".repeat(4000).into();
    assert!(stack.webhook(&large).await["sequence"].is_u64());
    assert_eq!(stack.webhook(&busy(901)).await["spooled"], true);

    stack.nats.freeze().unwrap();
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < 20, "more webhooks than 3000 bytes can hold");
        let answer = stack.post_to(CALL_STATUS, busy(accepted).to_string()).await;
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
    };
    assert_eq!((refused.status, refused.code()), (503, "not_stored"));
    assert!(accepted > 0);
    stack.nats.thaw().unwrap();
    for n in 0..accepted {
        stack.until_call(&format!("c{n:03}"), doc! { "status": "busy" }).await;
    }
    until_empty(&stack).await;
    until_equal("a webhook in the spool", json!(true), async || {
        stack.webhook(&busy(902)).await["spooled"].clone()
    })
    .await;
}

#[tokio::test]
async fn what_the_other_mode_has_left_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = setup(folder.path()).start().await;
    for (n, next) in [(0, "fallback"), (100, "first")] {
        stack.nats.kill().await.unwrap();
        let parts = async || stack.gateway.readiness(&stack.http).await.1["parts"]["nats"].clone();
        until_equal("the readiness of NATS", json!("not connected"), parts).await;
        for n in n..n + 100 {
            assert_eq!(stack.webhook(&busy(n)).await["spooled"], true);
        }
        stack.gateway.kill().await;
        stack.nats.restart().await.unwrap();
        stack.gateway.restart_with("SPOOL", next).await;
        let wanted = u64::try_from(n).unwrap() + 100;
        until_equal("busy calls", wanted, async || stack.count(doc! { "status": "busy" }).await).await;
        until_empty(&stack).await;
    }
}

#[tokio::test]
async fn large_bodies_and_a_broker_that_is_away_are_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = setup(folder.path()).start().await;
    let mut large = busy(1);
    large["padding"] = "x".repeat(20 * 1024 * 1024).into();
    assert_eq!(stack.webhook(&large).await["spooled"], true);
    stack.until_call("c001", doc! { "status": "busy" }).await;
    let message = stack.message(streams::WEBHOOKS, 1).await;
    assert!(message.headers.get("Aftercall-Body-Object").is_some() && message.payload.is_empty());

    stack.nats.kill().await.unwrap();
    for n in 2..30 {
        assert_eq!(stack.webhook(&busy(n)).await["spooled"], true);
    }
    let oldest = "aftercall_spool_oldest_timestamp_seconds{mode=\"first\"}";
    let is_known =
        async || value(&stack.gateway.metrics(&stack.http).await, oldest).is_some_and(|oldest| oldest > 1e9);
    until_equal("the oldest webhook is known", true, is_known).await;
    stack.nats.restart().await.unwrap();
    until_equal("busy calls", 29, async || stack.count(doc! { "status": "busy" }).await).await;
    until_empty(&stack).await;
}

#[tokio::test]
async fn a_webhook_that_the_broker_refuses_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let stack = setup(folder.path()).start().await;
    // No message may have a body of 50,000 bytes or more.
    let bodies = stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone();
    let small = jetstream::stream::Config { max_message_size: 50_000, ..bodies.clone() };
    stack.jetstream.update_stream(&small).await.unwrap();
    let mut large = busy(900);
    large["padding"] = "x".repeat(60_000).into();
    for n in 0..20 {
        if n % 5 == 0 {
            large["call_id"] = format!("large{n}").into();
            assert_eq!(stack.webhook(&large).await["spooled"], true);
        }
        assert_eq!(stack.webhook(&busy(n)).await["spooled"], true);
    }
    until_equal("busy calls", 20, async || stack.count(doc! { "status": "busy" }).await).await;
    let left = async || value(&stack.gateway.metrics(&stack.http).await, "aftercall_spool_webhooks");
    until_equal("webhooks in the spool", Some(4.0), left).await;
    // They stay until the broker takes them.
    stack.jetstream.update_stream(&bodies).await.unwrap();
    until_equal("busy calls", 24, async || stack.count(doc! { "status": "busy" }).await).await;
    until_empty(&stack).await;
}
