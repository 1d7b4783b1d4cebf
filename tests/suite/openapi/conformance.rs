//! Schemathesis: requests that follow the description, and requests that do not, to the real gateway and worker.

use std::{path::Path, time::Duration};

use aftercall_local::simulator;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mongodb::bson::doc;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{CALL_STATUS, TWILIO_TOKEN, TestStack, TestStackBuilder, python};

/// The token of callers and of an own dialler.
pub const TOKEN: &str = "token-of-the-test-0123456789-0123456789";
/// The token of readers.
const READ_TOKEN: &str = "token-of-readers-0123456789-0123456789";
/// Requests that must be sent at least.
const CASES: u64 = 2000;
/// Most generated requests for each operation and each phase.
const EXAMPLES: &str = "180";

/// A stack in which every request needs a token or a signature.
pub fn stack() -> TestStackBuilder {
    let options = simulator::Options { pace: Duration::from_millis(20), ..simulator::Options::default() };
    TestStack::builder()
        .simulator(options)
        .gateway_env("API_TOKEN", TOKEN)
        .gateway_env("API_READ_TOKEN", READ_TOKEN)
        .gateway_env("EVENTS_TOKEN", TOKEN)
        .gateway_env("API_ANONYMOUS", "none")
        .gateway_env("ALLOWED_SOURCES", "elevenlabs")
}

/// Stores a call with turns and a recording, under the ids of `schemathesis.toml`.
pub async fn store_call(stack: &TestStack) {
    let recording = BASE64_STANDARD.encode([7; 3000]);
    let turns = json!([{ "role": "agent", "message": "Hello?" }, { "role": "user", "message": null }]);
    let call = json!({ "phone_call": { "call_sid": "known-call", "direction": "outbound" } });
    for (event, data) in [
        ("post_call_transcription", json!({ "status": "done", "transcript": turns, "metadata": call })),
        ("post_call_audio", json!({ "full_audio": recording })),
    ] {
        let mut data = data;
        data["agent_id"] = "agent".into();
        data["conversation_id"] = "known_conversation".into();
        let webhook = json!({ "type": event, "event_timestamp": 1_790_000_000, "data": data });
        let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).bearer_auth(TOKEN);
        assert_eq!(stack.send(request.body(webhook.to_string())).await.status, 200);
    }
    stack.until_call("known-call", doc! { "transcriptState": "saved", "audio": { "$exists": true } }).await;
}

#[tokio::test]
async fn two_thousand_requests_of_schemathesis_find_nothing() {
    let stack = stack().start().await;
    store_call(&stack).await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/openapi");
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", std::env::join_paths([python::folder(&python::OPENAPI).await, &here]).unwrap())
        .env("PYTHONUTF8", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("TWILIO_TOKEN", TWILIO_TOKEN)
        .env("TO_BE_SIGNED", "to-be-signed")
        .env("TOKEN", TOKEN)
        .env("READ_TOKEN", READ_TOKEN)
        .current_dir(folder.path())
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(here.join("schemathesis.toml"))
        .args(["run", "--url", &stack.base, "--max-examples", EXAMPLES, "--no-color", "--report-json-path"])
        .arg(&report)
        .arg(format!("{}/openapi.json", stack.base));
    let output = python::output(command).await;
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout)); // Shown if the test fails.
    let sent = report["test_cases"]["generated"].as_u64().unwrap();
    assert!(sent >= CASES, "{sent} requests");
    assert_eq!((&report["failures"], &report["operations"]["errored"]), (&json!([]), &json!(0)));
    assert!(output.status.success());
}
