//! A backlog after an outage, and what comes in meanwhile.

use std::time::{Duration, Instant};

use aftercall_common::contract::streams::{WEBHOOKS, consumer, subject};
use aftercall_worker::broker::consumer::{Batches, Pull as _, Source};
use mongodb::bson::doc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Setup, Stack, until, until_equal};

/// Enough to keep a worker busy for seconds.
const OLD: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts webhooks of so many calls into the stream that no worker has seen, those that are there already included.
async fn fill(stack: &Stack, total: u64) {
    let client = stack.jetstream.client();
    for n in stack.stored(WEBHOOKS).await..total {
        let body = json!({ "event_type": "call.ringing", "call_id": format!("old{n}") }).to_string();
        client.publish(subject::ELEVENLABS_CALL_STATUS, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    until_equal("webhooks stored", total, async || stack.stored(WEBHOOKS).await).await;
}

#[tokio::test]
async fn webhooks_of_now_are_shown_while_a_backlog_is_worked_off_and_have_their_turn_as_well() {
    let mut stack = Setup::default().without_worker().start().await;
    fill(&stack, OLD).await;
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

/// Two workers that ask for so many messages at a time.
fn two_workers(stack: &Stack, messages: usize) -> [Batches; 2] {
    let source =
        Source { stream: WEBHOOKS, consumer: consumer::STATUS, messages, bytes: 1 << 20, replicas: 1 };
    [(); 2].map(|()| Batches::new(stack.jetstream.clone(), source))
}

/// Requests that wait at the broker; none while there is no consumer.
async fn waiting(stack: &Stack) -> usize {
    stack.consumer(consumer::STATUS, WEBHOOKS).await.map_or(0, |info| info.num_waiting)
}

/// The sequences of the next `count` messages that this worker is given. They are settled.
async fn given(worker: &mut Batches, count: usize) -> Vec<u64> {
    let (stop, mut sequences) = (CancellationToken::new(), Vec::new());
    while sequences.len() < count {
        let messages = tokio::time::timeout(PATIENCE, worker.next(&stop)).await.unwrap().unwrap();
        for message in messages {
            sequences.push(message.info().unwrap().stream_sequence);
            message.ack().await.unwrap();
        }
    }
    sequences
}

#[tokio::test]
async fn what_a_worker_asks_for_lies_together_in_the_stream() {
    const EACH: usize = 100;
    let stack = Setup::default().without_worker().start().await;
    fill(&stack, OLD).await;
    let mut workers = two_workers(&stack, EACH);
    let mut all = Vec::new();
    for turn in 0..6 {
        all.extend(given(&mut workers[turn % 2], EACH).await);
    }
    assert_eq!(all, (1..=6 * EACH as u64).collect::<Vec<_>>(), "events of one call go to one worker");
}

#[tokio::test]
async fn of_two_workers_that_wait_one_is_served_before_the_other() {
    const EACH: usize = 20;
    const ROUNDS: usize = 30;
    let stack = Setup::default().without_worker().start().await;
    let [mut one, mut other] = two_workers(&stack, EACH);
    let together = |given: &[u64]| given.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let mut rounds_together = 0;
    for round in 1..=ROUNDS {
        let both = async { tokio::join!(given(&mut one, EACH), given(&mut other, EACH)) };
        let filled = async {
            until_equal("workers that wait", 2, async || waiting(&stack).await).await;
            fill(&stack, (2 * EACH * round) as u64).await;
        };
        let ((first, second), ()) = tokio::join!(both, filled);
        rounds_together += usize::from(together(&first) && together(&second));
    }
    // They drew the same priority in every tenth round.
    assert!(rounds_together > ROUNDS / 2, "{rounds_together} of {ROUNDS}");
}
