//! What a webhook costs the gateway, in instructions: a guard that does not depend on how busy the machine is.

use aftercall_local::process::Signal;
use serde_json::json;

use crate::harness::{TestStack, tool};

/// Webhooks of the two runs; what is theirs in common, as the start, goes away in the difference.
const WEBHOOKS: (u64, u64) = (100, 600);
/// Most instructions for one webhook, in the build that tests are run on. Measured: 224,000.
const MOST: u64 = 240_000;

/// Instructions that a gateway uses from its start to its end, so many webhooks in between.
async fn instructions(webhooks: u64) -> u64 {
    let valgrind = "exec valgrind --tool=callgrind --callgrind-out-file=/dev/null";
    let mut stack = TestStack::builder().without_worker().gateway_shell_prefix(valgrind).start().await;
    for n in 0..webhooks {
        let event = json!({
            "event_type": "call.ringing", "call_id": format!("call{n:09}"), "status": "ringing",
            "to_number": "+15005550006", "note": "x".repeat(180),
        });
        stack.webhook(&event).await;
    }
    stack.gateway.signal(Signal::SIGTERM);
    stack.gateway.ended().await;
    let log = stack.gateway.log();
    let count = log.lines().find_map(|line| line.split_once("Collected :")).expect("a count of callgrind's");
    count.1.trim().parse().unwrap()
}

#[tokio::test]
async fn webhook_needs_no_more_instructions_than_the_limit() {
    if tool("valgrind").is_none() {
        return;
    }
    let (few, many) = (instructions(WEBHOOKS.0).await, instructions(WEBHOOKS.1).await);
    let each = (many - few) / (WEBHOOKS.1 - WEBHOOKS.0);
    eprintln!("{each} instructions for a webhook");
    assert!(each < MOST, "{each} instructions for a webhook, not less than {MOST}");
    assert!(each > MOST / 3, "{each} instructions: the bound of {MOST} means nothing any more");
}
