//! A backlog after an outage, and what comes in meanwhile.

use std::time::{Duration, Instant};

use aftercall_common::stream::{WEBHOOKS, consumer, subject};
use aftercall_worker::pull::{Batches, Pull as _, Source};
use async_nats::jetstream;
use mongodb::bson::doc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Setup, Stack, until, until_equal};

/// Enough to keep a worker busy for seconds.
const OLD: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts webhooks of as many calls into the stream that no worker has seen.
async fn fill(stack: &Stack) {
    let client = async_nats::connect(stack.nats.url()).await.unwrap();
    for n in 0..OLD {
        let body = json!({ "event_type": "call.ringing", "call_id": format!("old{n}") }).to_string();
        client.publish(subject::ELEVENLABS_CALL_STATUS, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    until_equal("webhooks stored", OLD, async || stack.stored(WEBHOOKS).await).await;
}

#[tokio::test]
async fn webhooks_of_now_are_shown_while_a_backlog_is_worked_off_and_have_their_turn_as_well() {
    let mut stack = Setup::default().without_worker().start().await;
    fill(&stack).await;
    stack.add_worker().await;
    until("the worker to see that it is far behind", async || {
        stack.workers[0].log().contains("far behind").then_some(())
    })
    .await;
    let begun = Instant::now();
    for n in 0..20 {
        let call = format!("new{n}");
        let event =
            |kind: &str| json!({ "event_type": format!("call.{kind}"), "call_id": call, "status": kind });
        stack.webhook(&event("ringing")).await;
        stack.webhook(&event("busy")).await;
        stack.until_call(&call, doc! { "status": "busy" }).await;
    }
    let (pending, _) = stack.backlog().await.unwrap();
    assert!(
        pending > 40,
        "they were shown before their turn: {pending} before it, after {:?}",
        begun.elapsed()
    );

    stack.settled().await;
    assert_eq!(stack.count(doc! {}).await, OLD + 20);
    let twice = doc! { "callId": { "$regex": "^new" }, "status": "busy", "history": { "$size": 2 } };
    assert_eq!(stack.count(twice).await, 20, "what is applied twice is there once");
    until("the worker to see that it has caught up", async || {
        stack.workers[0].log().contains("caught up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_worker_asks_for_lies_together_in_the_stream() {
    const EACH: usize = 100;
    let stack = Setup::default().without_worker().start().await;
    fill(&stack).await;
    let client = async_nats::connect(stack.nats.url()).await.unwrap();
    let context = jetstream::new(client);
    let source =
        Source { stream: WEBHOOKS, consumer: consumer::STATUS, messages: EACH, bytes: 1 << 20, replicas: 1 };
    let mut workers = [(); 2].map(|()| Batches::new(context.clone(), source));
    let stop = CancellationToken::new();
    let mut given = Vec::new();
    for turn in 0..6 {
        let mut messages = Vec::new();
        while messages.len() < EACH {
            let asked = workers[turn % 2].next(&stop);
            messages.extend(tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap());
        }
        given.extend(messages.iter().map(|message| message.info().unwrap().stream_sequence));
    }
    assert_eq!(given, (1..=6 * EACH as u64).collect::<Vec<_>>(), "events of one call go to one worker");
}
