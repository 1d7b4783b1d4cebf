//! A gateway without file descriptors or memory: it logs the cause, keeps running, and serves again.

use std::time::Duration;

use aftercall_common::contract::streams;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{CALL_STATUS, TestStack, until};

#[tokio::test]
async fn gateway_without_file_descriptors_idles_and_recovers() {
    let stack =
        TestStack::builder().without_worker().gateway_shell_prefix("ulimit -n 64 && exec").start().await;
    let idle = join_all((0..200).map(|_| TcpStream::connect(stack.public))).await;
    assert!(idle.iter().filter(|socket| socket.is_ok()).count() > 64);
    until("the gateway reaches its limit of file descriptors", async || {
        stack.gateway.log().contains("Too many open files").then_some(())
    })
    .await;
    let before = stack.gateway.processor_time();
    tokio::time::sleep(Duration::from_secs(1)).await; // The time of the measurement.
    let used = stack.gateway.processor_time().saturating_sub(before);
    assert!(used < Duration::from_millis(500), "a loop spins: {used:?} of processor time in a second");
    assert!(stack.gateway.log().lines().count() < 200, "every failed accept is logged");
    drop(idle);
    stack.webhook_until_accepted(&json!({ "event_type": "call.busy", "call_id": "c" })).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1);
}

#[tokio::test]
async fn bodies_beyond_the_memory_budget_are_refused() {
    // The limit of the address space, in KiB. The kernel has no limit of resident memory; most of the address
    // space is reserved and never used.
    let setup = TestStack::builder().without_worker().gateway_shell_prefix("ulimit -v 1500000 && exec");
    let setup = setup.gateway_env("MAX_INFLIGHT_BYTES", "33554432").gateway_env("PUBLISH_TIMEOUT", "20s");
    let stack = setup.start().await;
    let body = |n: usize| {
        let padding = "x".repeat(4 * 1024 * 1024);
        json!({ "event_type": "call.busy", "call_id": format!("c{n}"), "padding": padding }).to_string()
    };
    let answers = join_all((0..60).map(async |n| stack.post_to(CALL_STATUS, body(n)).await)).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    let refused = answers.iter().filter(|answer| answer.code() == "overloaded").count();
    assert!(count(200) > 0 && refused > 0 && count(200) + count(503) == 60, "{answers:?}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, count(200) as u64);
    assert!(stack.gateway.resident() < 200 * 1024 * 1024, "{} bytes", stack.gateway.resident());
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c" })).await;
}
