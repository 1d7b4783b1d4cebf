//! Instructions that the gateway needs for a webhook. The count hardly depends on the load of the machine.

use aftercall_local::process::Signal;
use serde_json::json;

use crate::harness::{TestStack, tool};

/// Webhooks of the two runs. The difference of their counts does not contain the start of the gateway.
const WEBHOOKS: (u64, u64) = (100, 600);
/// Limit of instructions for one webhook, in the build of the tests. Measured: 240,000 to 246,000, because the
/// gateway is woken more often on a busy machine. The id of the request in the answer needs 4,000 of them.
const MOST: u64 = 249_000;

/// Instructions of a gateway from its start to its end, with this number of webhooks.
async fn instructions(webhooks: u64) -> u64 {
    let valgrind = "exec valgrind --tool=callgrind --callgrind-out-file=/dev/null";
    // Without the lines of successes, whose number depends on the time.
    let setup = TestStack::builder().without_worker().gateway_env("RUST_LOG", "warn");
    let mut stack = setup.gateway_shell_prefix(valgrind).start().await;
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
    let count =
        log.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind prints a count");
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
    assert!(each > MOST / 3, "{each} instructions: lower the limit of {MOST}");
}
