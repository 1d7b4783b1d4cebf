//! Failures of the broker's disk: its store limit is reached, the disk is full, or stored data is corrupted.

use std::{path::Path, time::Duration};

use aftercall_common::contract::streams;
use aftercall_lab::disk::{Disk, Durability};
use aftercall_local::{nats, process::Signal, simulator};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::{
    harness::{CALL_STATUS, TestStack, scaled_setting, until, until_equal},
    reconciliation,
};

fn busy(n: usize) -> Value {
    json!({ "event_type": "call.busy", "call_id": format!("c{n}"), "padding": "x".repeat(20_000) })
}

/// Posts webhooks until one is refused. Returns the number of the refused webhook and the error code.
async fn post_until_refused(stack: &TestStack, from: usize) -> (usize, String) {
    for n in from..from + 1000 {
        let answer = stack.post_to(CALL_STATUS, busy(n).to_string()).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{}", answer.body);
            return (n, answer.code().to_owned());
        }
    }
    panic!("a thousand webhooks were accepted");
}

/// Waits until there are `count` busy calls, and checks that there is no dead letter.
async fn all_applied(stack: &TestStack, count: usize) {
    until_equal("calls", count as u64, async || stack.count(doc! { "status": "busy" }).await).await;
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn broker_at_its_store_limit_leads_to_503_and_stored_webhooks_are_applied() {
    let options = nats::Options { jetstream: "max_file_store: 3MB".to_owned(), ..nats::Options::default() };
    let stack = TestStack::builder().nats(options).start().await;
    let (accepted, code) = post_until_refused(&stack, 0).await;
    assert_eq!((code.as_str(), accepted > 50), ("not_stored", true), "{accepted} accepted");
    // No message was evicted.
    assert_eq!(stack.stored(streams::WEBHOOKS).await, accepted as u64);
    all_applied(&stack, accepted).await;
}

#[tokio::test]
async fn broker_with_a_full_disk_leads_to_503_until_it_restarts_with_free_space() {
    let disk = match Disk::mount(Durability::Journaled) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("SKIPPED: no disk can be mounted: {why:#}"),
    };
    let options = nats::Options { data: Some(disk.path().join("nats")), ..nats::Options::default() };
    let mut stack = TestStack::builder()
        .nats(options)
        .gateway_env("PUBLISH_TIMEOUT", &scaled_setting(Duration::from_millis(500)))
        .start()
        .await;
    for n in 0..20 {
        stack.webhook(&busy(n)).await;
    }
    disk.fill();
    let (accepted, code) = post_until_refused(&stack, 20).await;
    assert_eq!(code, "not_stored");
    for n in accepted..accepted + 5 {
        let answer = stack.post_to(CALL_STATUS, busy(n).to_string()).await;
        assert_eq!((answer.status, answer.code()), (503, "not_stored"));
    }
    disk.make_room();
    stack.nats.restart().await.unwrap();
    for n in accepted..accepted + 5 {
        stack.webhook_until_accepted(&busy(n)).await;
    }
    all_applied(&stack, accepted + 5).await;
    drop(stack); // The broker must end before its disk is unmounted.
}

/// Flips bits in the middle of the first block of the stream of webhooks, in the broker's folder `data`.
fn corrupt(data: &Path) {
    let block = data.join("jetstream/jetstream/$G/streams/WEBHOOKS/msgs/1.blk");
    let mut bytes = std::fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&block, bytes).unwrap();
    // A server that stops writes this index. With the index and a damaged block, nats-server 2.15.1 does not
    // start (one core busy, "Starting restore for stream"). The runbook says to remove the index.
    let _none = std::fs::remove_file(block.with_file_name("index.db"));
}

#[tokio::test]
async fn corrupted_webhooks_are_detected_reported_and_reconciled() {
    let folder = tempfile::tempdir().unwrap();
    let options = nats::Options { data: Some(folder.path().to_owned()), ..nats::Options::default() };
    let simulator = simulator::Options { pace: Duration::from_millis(20), ..simulator::Options::default() };
    let setup = TestStack::builder().nats(options).simulator(simulator);
    let setup = setup.worker_env("RECONCILE_EVERY", "1h").worker_env("RECONCILE_RATE", "100");
    let mut stack = setup.start().await;
    until("the first reconciliation is complete", async || {
        let metrics = stack.workers[0].metrics(&stack.http).await;
        metrics.contains(r#"aftercall_reconciliations_total{outcome="complete"} 1"#).then_some(())
    })
    .await;
    // The worker is stopped, so that the webhooks are lost before they are processed.
    stack.workers[0].signal(Signal::SIGSTOP);
    reconciliation::dial_many(&stack, 40).await;
    let stored = stack.stored(streams::WEBHOOKS).await;
    stack.nats.kill().await.unwrap();
    corrupt(folder.path());
    stack.nats.restart().await.unwrap();
    let left = until("the broker is back", async || {
        Some(stack.jetstream.get_stream(streams::WEBHOOKS).await.ok()?.cached_info().state.messages)
    });
    let left = left.await;
    assert!(left < stored, "no webhook was lost: {left} of {stored} are left");
    stack.workers[0].signal(Signal::SIGCONT);

    until_equal("calls that are not right", 0, async || reconciliation::wrong(&stack).await).await;
    until_equal("the gateway has detected the loss", true, async || {
        stack.gateway.metrics(&stack.http).await.contains("aftercall_broker_losses_total 1\n")
    })
    .await;
    assert!(stack.gateway.log().contains("the broker has lost webhooks that it had acknowledged"));
    // New webhooks are processed. They have the sequences of the lost ones.
    stack.webhook(&busy(1)).await;
    stack.until_call("c1", doc! { "status": "busy" }).await;
    drop(stack); // The broker must end before its folder is removed.
}

#[tokio::test]
async fn consumer_without_its_files_is_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = nats::Options { data: Some(folder.path().to_owned()), ..nats::Options::default() };
    let mut stack = TestStack::builder().nats(options).without_worker().start().await;
    stack.add_worker().await.kill().await; // The worker has created the consumer.
    stack.webhook(&busy(1)).await;
    // This is the state after a consumer was created while it was being deleted.
    let files = folder.path().join("jetstream/jetstream/$G/streams/WEBHOOKS/obs/status");
    std::fs::remove_dir_all(&files).unwrap();
    stack.add_worker().await;
    stack.until_call("c1", doc! { "status": "busy" }).await;
    stack.all_acknowledged().await;
    assert!(files.join("meta.inf").exists());
    drop(stack); // The broker must end before its folder is removed.
}
