//! Wrong clocks: an hour ahead, an hour behind, and changed while the processes run.
//!
//! Debian's `faketime` gives gateway and worker a wrong time of day. It does not change the monotonic clock.
//! Broker and database have the right time. Without `faketime` the tests print that they are skipped, and
//! pass.

use std::{path::Path, time::Duration};

use aftercall_common::contract::streams;
use aftercall_local::simulator::Answer;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{SECRET, TestStack, post_signed, until, until_equal};

/// The path of the library in Debian.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Variables of a process whose clock is wrong by the number of seconds in `file`. `None` if faketime is
/// missing.
fn clock(file: &Path) -> Option<[(&'static str, String); 4]> {
    if !Path::new(FAKETIME).exists() {
        eprintln!("SKIPPED: faketime is not installed");
        return None;
    }
    Some([
        ("LD_PRELOAD", FAKETIME.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap().to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// Sets a clock ahead by `seconds`, or behind if they are negative.
fn set(file: &Path, seconds: i64) {
    // A rename is atomic, so that a process reads either the old or the new file.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[tokio::test]
async fn signature_check_tolerates_wrong_clocks_within_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    set(&file, 50 * 60);
    let Some(vars) = clock(&file) else { return };
    let setup = TestStack::builder().without_worker().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let setup = vars.iter().fold(setup, |setup, (name, value)| setup.gateway_env(name, value));
    let stack = setup.start().await;
    let mut n = 0;
    let mut post = async || {
        n += 1;
        post_signed(&stack, SECRET, &json!({ "call_id": format!("c{n}") }).to_string()).await
    };
    assert_eq!(post().await, 200, "50 minutes ahead");
    for (seconds, status) in [(2 * 3600, 401), (0, 200), (-3 * 60, 200), (-3600, 401), (0, 200)] {
        set(&file, seconds);
        assert_eq!(post().await, status, "{seconds} s ahead");
    }
    let metrics = stack.gateway.metrics(&stack.http).await;
    let refused =
        r#"aftercall_http_requests_total{route="elevenlabs_call_status",code="signature_expired"} 2"#;
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
}

#[tokio::test]
async fn workers_with_clocks_an_hour_off_give_the_same_result_and_wait_as_long() {
    for (seconds, name) in [(3600, "ahead"), (-3600, "behind")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        set(&file, seconds);
        let Some(vars) = clock(&file) else { return };
        let mut stack = TestStack::builder().without_worker().start().await;
        for (name, value) in &vars {
            stack.worker_env(name, value);
        }
        stack.simulator.script("v", [Answer::NotFound, Answer::Processing, Answer::Done]);
        stack.add_worker().await;
        for event in ["call.ended", "call.ringing", "call.completed", "call.initiated"] {
            let body = json!({ "event_type": event, "call_id": "c", "conversation_id": "v" });
            stack.webhook(&body).await;
        }
        let call = stack.until_call("c", doc! { "transcriptState": "saved", "status": "ended" }).await;
        // Four webhooks, and the conversation that the worker fetched.
        assert_eq!(call.get_array("history").unwrap().len(), 5, "{name}");
        // The worker waits between its requests as long as with the right time.
        assert_eq!(stack.simulator.request_count("v"), 3, "{name}");
        let requests = stack.simulator.requests();
        for pair in requests.windows(2) {
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(1300), "{name}: {requests:?}");
        }
        stack.all_acknowledged().await;
    }
}

#[tokio::test]
async fn clock_that_jumps_back_and_forth_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    set(&file, 0);
    let Some(vars) = clock(&file) else { return };
    let setup = TestStack::builder().without_worker();
    let setup = vars.iter().fold(setup, |setup, (name, value)| setup.gateway_env(name, value));
    let mut stack = setup.start().await;
    for (name, value) in &vars {
        stack.worker_env(name, value);
    }
    stack.add_worker().await;
    for (lot, seconds) in [3600, -3600, 0, -3600, 3600].into_iter().enumerate() {
        set(&file, seconds);
        for n in 0..20 {
            let body = json!({ "event_type": "call.busy", "call_id": format!("c{lot}-{n}") });
            stack.webhook(&body).await;
        }
    }
    until_equal("busy calls", 100, async || stack.count(doc! { "status": "busy" }).await).await;
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 100);
    until("the worker is ready", async || {
        (stack.workers[0].readiness(&stack.http).await.0 == 200).then_some(())
    })
    .await;
    is_idle(&stack).await;
}

/// Checks that gateway and worker use little processor time, that is, that no loop spins because of the
/// clock.
async fn is_idle(stack: &TestStack) {
    let both = || stack.gateway.processor_time() + stack.workers[0].processor_time();
    let before = both();
    tokio::time::sleep(Duration::from_secs(2)).await; // The time of the measurement.
    let used = both().saturating_sub(before);
    assert!(used < Duration::from_secs(1), "used {used:?} of processor time in two seconds");
}
