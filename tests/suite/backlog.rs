//! A backlog of webhooks, and webhooks that arrive while workers process it.

use aftercall_common::contract::streams::{WEBHOOKS, consumer, subject};
use aftercall_local::nats;
use aftercall_worker::broker::consumer::{Batches, Pull as _, Source};
use mongodb::bson::doc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestStack, until, until_equal, within};

/// Webhooks of a backlog that keeps a worker busy for seconds.
const BACKLOG: u64 = 100_000;
/// Calls that must be shown during the backlog.
const MIN_NEW_CALLS: u64 = 5;
/// Calls that are posted during the backlog.
const MAX_NEW_CALLS: u64 = 20;

/// A stack without a worker. Its broker does not sync after each message, so that it stores a backlog quickly.
async fn start() -> TestStack {
    let options = nats::Options { sync_always: false, ..nats::Options::default() };
    TestStack::builder().nats(options).without_worker().start().await
}

/// Fills the stream up to `total` webhooks, each of another call.
async fn fill(stack: &TestStack, total: u64) {
    let client = stack.jetstream.client();
    for n in stack.stored(WEBHOOKS).await..total {
        let body = json!({ "event_type": "call.ringing", "call_id": format!("old{n}") }).to_string();
        client.publish(subject::ELEVENLABS_CALL_STATUS, body.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    until_equal("webhooks stored", total, async || stack.stored(WEBHOOKS).await).await;
}

#[tokio::test]
async fn new_webhooks_are_applied_before_a_backlog_and_once_more_in_their_turn() {
    let mut stack = start().await;
    fill(&stack, BACKLOG).await;
    stack.add_worker().await;
    until("the worker sees that it is far behind", async || {
        stack.workers[0].log().contains("far behind").then_some(())
    })
    .await;
    // New calls, for as long as the backlog lasts. On a busy machine the backlog grows, so that it lasts longer.
    let (mut old, mut shown) = (BACKLOG, 0);
    while shown < MAX_NEW_CALLS {
        let call = format!("new{shown}");
        let event =
            |kind: &str| json!({ "event_type": format!("call.{kind}"), "call_id": call, "status": kind });
        stack.webhook(&event("ringing")).await;
        stack.webhook(&event("busy")).await;
        stack.until_call(&call, doc! { "status": "busy" }).await;
        shown += 1;
        let (pending, _) = stack.backlog().await.unwrap();
        if pending <= 2 * MAX_NEW_CALLS {
            break;
        }
        if pending < BACKLOG / 2 && shown < MIN_NEW_CALLS {
            fill(&stack, stack.stored(WEBHOOKS).await + BACKLOG / 2).await;
            old += BACKLOG / 2;
        }
    }
    assert!(shown >= MIN_NEW_CALLS, "only {shown} new calls were shown during the backlog");

    stack.all_acknowledged().await;
    assert_eq!(stack.count(doc! {}).await, old + shown);
    let twice = doc! { "callId": { "$regex": "^new" }, "status": "busy", "history": { "$size": 2 } };
    assert_eq!(stack.count(twice).await, shown, "an event that is applied twice is stored once");
    until("the worker sees that it has caught up", async || {
        stack.workers[0].log().contains("caught up").then_some(())
    })
    .await;
}

/// Two workers that pull `messages` messages at a time.
fn two_workers(stack: &TestStack, messages: usize) -> [Batches; 2] {
    let consumer = consumer::STATUS.to_owned();
    let source = Source { stream: WEBHOOKS, consumer, config: None, messages, bytes: 1 << 20, replicas: 1 };
    [(); 2].map(|()| Batches::new(stack.jetstream.clone(), source.clone()))
}

/// Pull requests that wait at the broker; 0 if there is no consumer.
async fn waiting(stack: &TestStack) -> usize {
    stack.consumer(consumer::STATUS, WEBHOOKS).await.map_or(0, |info| info.num_waiting)
}

/// Pulls and acknowledges the next `count` messages. Returns their sequences.
async fn given(worker: &mut Batches, count: usize) -> Vec<u64> {
    let (stop, mut sequences) = (CancellationToken::new(), Vec::new());
    while sequences.len() < count {
        let messages = within("the worker is given messages", worker.next(&stop)).await.unwrap();
        for message in messages {
            sequences.push(message.info().unwrap().stream_sequence);
            message.ack().await.unwrap();
        }
    }
    sequences
}

#[tokio::test]
async fn one_pull_delivers_consecutive_messages() {
    const EACH: usize = 100;
    let stack = start().await;
    fill(&stack, 50 * EACH as u64).await;
    let mut workers = two_workers(&stack, EACH);
    let mut all = Vec::new();
    for turn in 0..6 {
        all.extend(given(&mut workers[turn % 2], EACH).await);
    }
    assert_eq!(all, (1..=6 * EACH as u64).collect::<Vec<_>>(), "a pull is not consecutive");
}

#[tokio::test]
async fn one_of_two_waiting_workers_is_served_first() {
    const EACH: usize = 20;
    const ROUNDS: usize = 30;
    let stack = start().await;
    let [mut one, mut other] = two_workers(&stack, EACH);
    let together = |given: &[u64]| given.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let mut rounds_together = 0;
    for round in 1..=ROUNDS {
        let both = async { tokio::join!(given(&mut one, EACH), given(&mut other, EACH)) };
        let filled = async {
            until_equal("waiting pull requests", 2, async || waiting(&stack).await).await;
            fill(&stack, (2 * EACH * round) as u64).await;
        };
        let ((first, second), ()) = tokio::join!(both, filled);
        rounds_together += usize::from(together(&first) && together(&second));
    }
    // In one of ten rounds both workers draw the same priority.
    assert!(rounds_together > ROUNDS / 2, "{rounds_together} of {ROUNDS}");
}
