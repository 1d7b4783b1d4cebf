//! The log lines of successes: one for each webhook and for each applied event, and sums under load.

use aftercall_local::process::Signal;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::harness::{TestStack, until};

const NUMBER: &str = "+15557654321";

#[tokio::test]
async fn a_webhook_and_its_applied_event_have_a_line_each() {
    let stack = TestStack::start().await;
    // A dialler may use the number of the callee as the id of the call.
    let event = json!({
        "event_type": "call.busy", "call_id": NUMBER, "conversation_id": "conv_1", "to_number": NUMBER,
    });
    let id = stack.webhook(&event).await["id"].as_str().unwrap().to_owned();
    let line = async |log: &dyn Fn() -> String, text: &str| {
        until(text, async || {
            log().lines().find(|line| line.contains(text) && line.contains(&id)).map(str::to_owned)
        })
        .await
    };
    let stored = line(&|| stack.gateway.log(), "webhook stored").await;
    assert!(stored.contains("INFO") && stored.contains("duplicate=false"), "{stored}");
    let applied = line(&|| stack.workers[0].log(), "event applied").await;
    assert!(
        applied.contains("INFO") && applied.contains("conv_1") && applied.contains("call.busy"),
        "{applied}"
    );
    for log in [stack.gateway.log(), stack.workers[0].log()] {
        assert!(!log.contains("5557654321"), "a log line contains a telephone number");
    }
}

/// The lines of single successes, and the number of successes in the lines that sum up.
fn successes(log: &str, single: &str, summed: &str, field: &str) -> (usize, Vec<usize>) {
    let count = |line: &str| {
        let number = line.split_once(&format!(" {field}="))?.1.split(' ').next()?;
        number.parse().ok()
    };
    let sums = log.lines().filter(|line| line.contains(summed)).filter_map(count).collect();
    (log.lines().filter(|line| line.contains(single)).count(), sums)
}

#[tokio::test]
async fn successes_beyond_50_in_a_second_are_summed_up_in_one_line() {
    const WEBHOOKS: usize = 1500;
    let mut stack = TestStack::start().await;
    let started = std::time::Instant::now();
    stream::iter(0..WEBHOOKS)
        .for_each_concurrent(32, async |n| {
            stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).await;
        })
        .await;
    stack.all_acknowledged().await;
    // A process that stops logs its last sum.
    stack.gateway.signal(Signal::SIGTERM);
    stack.gateway.ended().await;
    stack.workers[0].signal(Signal::SIGTERM);
    stack.workers[0].ended().await;
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 2;
    for (log, single, summed, field, kind) in [
        (
            stack.gateway.log(),
            "webhook stored",
            "webhooks stored beyond",
            "webhooks",
            "elevenlabs_call_status ",
        ),
        (stack.workers[0].log(), "event applied", "events applied beyond", "events", "call.busy "),
    ] {
        let (lines, sums) = successes(&log, single, summed, field);
        assert_eq!(lines + sums.iter().sum::<usize>(), WEBHOOKS, "{lines} lines and the sums {sums:?}");
        assert!(lines <= 50 * seconds && sums.len() <= seconds, "{lines} lines, {sums:?}, {seconds} s");
        assert!(sums.iter().any(|sum| *sum > 50), "{lines} lines, {sums:?}");
        let sum = log.lines().find(|line| line.contains(summed)).unwrap();
        assert!(sum.contains(kind), "{sum}");
    }
}

#[tokio::test]
async fn the_level_debug_gives_every_success_a_line() {
    let mut stack =
        TestStack::builder().without_worker().gateway_env("RUST_LOG", "aftercall_ingest=debug").start().await;
    stream::iter(0..300)
        .for_each_concurrent(32, async |n| {
            stack.webhook(&json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).await;
        })
        .await;
    stack.gateway.signal(Signal::SIGTERM);
    stack.gateway.ended().await;
    let (lines, sums) =
        successes(&stack.gateway.log(), "webhook stored", "webhooks stored beyond", "webhooks");
    assert_eq!((lines, sums), (300, vec![]));
}
