//! The spool (`SPOOL_DIR`): the gateway accepts webhooks while the broker is unavailable, and publishes them
//! later.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use aftercall_common::contract::streams;
use async_nats::jetstream;
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, Service, TestStack, until_equal};

async fn stack(folder: &Path, vars: &[(&str, &str)]) -> TestStack {
    let setup = TestStack::builder().gateway_env("SPOOL_DIR", folder.to_str().unwrap());
    let setup = vars.iter().fold(setup, |setup, (name, value)| setup.gateway_env(name, value));
    let stack = setup.start().await;
    // With a spool, the gateway is ready before the streams are checked. The tests wait for that.
    let streams = async || stack.gateway.readiness(&stack.http).await.1["parts"]["stream"].clone();
    until_equal("the readiness of the streams", json!("ok"), streams).await;
    stack
}

fn busy_webhook(n: usize) -> Value {
    json!({ "event_type": "call.busy", "call_id": format!("c{n}") })
}

/// Kills the broker and waits until the gateway has noticed.
async fn kill_broker(stack: &mut TestStack) {
    stack.nats.kill().await.unwrap();
    let parts = async || stack.gateway.readiness(&stack.http).await.1["parts"]["nats"].clone();
    until_equal("the readiness of NATS", json!("not connected"), parts).await;
}

#[tokio::test]
async fn webhooks_accepted_during_an_outage_of_the_broker_arrive_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(folder.path(), &[]).await;
    assert_eq!(stack.webhook(&busy_webhook(0)).await["sequence"], 1);
    kill_broker(&mut stack).await;
    let (status, ready) = stack.gateway.readiness(&stack.http).await;
    assert_eq!((status, &ready["ready"]), (200, &json!(true)), "the gateway must stay ready: {ready}");

    for answer in join_all((1..200).map(|n| stack.post_to(CALL_STATUS, busy_webhook(n).to_string()))).await {
        assert_eq!((answer.status, &answer.body["spooled"]), (200, &json!(true)), "{}", answer.body);
        assert_eq!((&answer.body["sequence"], &answer.body["duplicate"]), (&Value::Null, &json!(false)));
    }
    let again = stack.webhook(&busy_webhook(7)).await;
    assert_eq!(again["duplicate"], true, "{again}");
    // Only the unavailable broker knows that this webhook is a duplicate.
    assert_eq!(stack.webhook(&busy_webhook(0)).await["duplicate"], false);
    stack.twilio("CallSid=CA1&CallStatus=no-answer").await;

    // Spooled webhooks are on the disk. They survive a crash and a start of the gateway without a broker.
    stack.gateway.kill().await;
    stack.gateway.restart().await;
    stack.gateway.until_ready(&stack.http).await;
    assert_eq!(stack.webhook(&busy_webhook(8)).await["duplicate"], true);

    let restarted = jiff::Timestamp::now();
    stack.nats.restart().await.unwrap();
    until_equal("busy calls", 200, async || stack.count(doc! { "status": "busy" }).await).await;
    stack.until_call("CA1", doc! { "status": "no_answer" }).await;
    until_equal("spooled webhooks", true, async || {
        stack.gateway.metrics(&stack.http).await.contains("aftercall_spool_webhooks 0\n")
    })
    .await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 201, "each webhook is stored once");

    // `Aftercall-Received-At` is the time of arrival, not of the publication.
    let first = stack.message(streams::WEBHOOKS, 2).await;
    let (id, received) = (first.headers.get("Nats-Msg-Id"), first.headers.get("Aftercall-Received-At"));
    assert_eq!(id.map(|id| id.as_str().len()), Some(64));
    let received: jiff::Timestamp = received.unwrap().as_str().parse().unwrap();
    assert!(received < restarted, "{received} is after the start of the broker at {restarted}");
    // New webhooks go to the broker.
    assert!(stack.webhook(&busy_webhook(200)).await["sequence"].is_u64());
}

#[tokio::test]
async fn large_body_is_spooled() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(folder.path(), &[]).await;
    kill_broker(&mut stack).await;
    let mut large = busy_webhook(1);
    large["padding"] = "x".repeat(3 * 1024 * 1024).into();
    assert_eq!(stack.webhook(&large).await["spooled"], true);
    stack.nats.restart().await.unwrap();
    stack.until_call("c1", doc! { "status": "busy" }).await;
    let message = stack.message(streams::WEBHOOKS, 1).await;
    assert!(message.headers.get("Aftercall-Body-Object").is_some() && message.payload.is_empty());
}

#[tokio::test]
async fn webhooks_are_spooled_while_the_broker_hangs_or_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(folder.path(), &[("PUBLISH_TIMEOUT", "300ms")]).await;
    stack.nats.freeze().unwrap();
    assert_eq!(stack.webhook(&busy_webhook(1)).await["spooled"], true);
    stack.nats.thaw().unwrap();
    stack.until_call("c1", doc! { "status": "busy" }).await;
    let spooled = async || stack.gateway.metrics(&stack.http).await.contains("aftercall_spool_webhooks 0\n");
    until_equal("an empty spool", true, spooled).await;
    assert_eq!(
        stack.stored(streams::WEBHOOKS).await,
        1,
        "it is stored once, also if the broker had it already"
    );

    let full = jetstream::stream::Config { max_messages: 1, ..config(&stack).await };
    stack.jetstream.update_stream(&full).await.unwrap();
    assert_eq!(stack.webhook(&busy_webhook(2)).await["spooled"], true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let unlimited = jetstream::stream::Config { max_messages: -1, ..full };
    stack.jetstream.update_stream(&unlimited).await.unwrap();
    stack.until_call("c2", doc! { "status": "busy" }).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2);
}

async fn config(stack: &TestStack) -> jetstream::stream::Config {
    stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone()
}

#[tokio::test]
async fn full_spool_refuses_webhooks() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = stack(folder.path(), &[("SPOOL_MAX_BYTES", "3000")]).await;
    kill_broker(&mut stack).await;
    let mut accepted = Vec::new();
    let refused = loop {
        let n = accepted.len();
        assert!(n < 20, "more webhooks than 3000 bytes can hold");
        let answer = stack.post_to(CALL_STATUS, busy_webhook(n).to_string()).await;
        if answer.status != 200 {
            break answer;
        }
        accepted.push(n);
    };
    assert_eq!((refused.status, refused.code()), (503, "not_stored"));
    let (status, ready) = stack.gateway.readiness(&stack.http).await;
    assert_eq!((status, &ready["parts"]["spool"]), (503, &json!("full")), "{ready}");

    stack.nats.restart().await.unwrap();
    for n in &accepted {
        stack.until_call(&format!("c{n}"), doc! { "status": "busy" }).await;
    }
    stack.gateway.until_ready(&stack.http).await;
    assert_eq!(stack.gateway.readiness(&stack.http).await.1["parts"]["spool"], "ok");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, accepted.len() as u64);
}

#[tokio::test]
async fn unusable_spool_folder_stops_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().to_str().unwrap();
    let (status, log) =
        Service::run_to_exit("gateway", &[("SPOOL_DIR", folder), ("LISTEN_ADDR", "127.0.0.1:0")]).await;
    assert_eq!(status, Some(78), "{log}");
    assert!(log.lines().last().unwrap().contains("SPOOL_DIR: "), "{log}");
}

#[tokio::test]
async fn spool_is_private_with_umask_0() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("spool");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let setup = TestStack::builder().without_worker().gateway_shell_prefix("umask 0 && exec");
    let _stack = setup.gateway_env("SPOOL_DIR", folder.to_str().unwrap()).start().await;
    assert_eq!((mode(&folder), mode(&folder.join("spool.redb"))), (0o700, 0o600));
}
