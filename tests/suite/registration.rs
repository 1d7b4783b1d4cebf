//! The registration of the webhook at ElevenLabs: created, bound and checked.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::harness::{TestStack, until};

const URL: &str = "https://hooks.example.com/api/webhooks/elevenlabs/call-status";

async fn register(stack: &TestStack, args: &[&str]) -> (Option<i32>, String, String) {
    let args = [&["register"], args].concat();
    stack.command(&args, &[("ELEVENLABS_STATUS_CALLBACK_URL", URL)]).await
}

async fn get(stack: &TestStack, path: &str) -> Value {
    let request = stack.http.get(format!("{}{path}", stack.simulator.base_url()));
    request.header("xi-api-key", "simulated").send().await.unwrap().json().await.unwrap()
}

async fn patch(stack: &TestStack, path: &str, body: Value) {
    let request = stack.http.patch(format!("{}{path}", stack.simulator.base_url()));
    let answer = request.header("xi-api-key", "simulated").body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn register_creates_the_webhook_once_and_reveals_its_secret_once() {
    let stack = TestStack::builder().without_worker().start().await;
    patch(
        &stack,
        "/v1/convai/settings",
        json!({ "webhooks": { "events": ["audio"], "transcript_format": "json" } }),
    )
    .await;
    let (code, shown, _) = register(&stack, &["--dry-run"]).await;
    assert_eq!((code, stack.simulator.webhooks().len()), (Some(0), 0), "a dry run changes nothing");
    assert!(
        shown.contains("would create a webhook") && shown.contains("would bind audio, transcript"),
        "{shown}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap();
    let (code, shown, stderr) = register(&stack, &["--secret-file", path, "--header", "X-Hook: t0ken"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let made = &stack.simulator.webhooks()[0];
    assert_eq!((made["webhook_url"].as_str(), &made["retry_enabled"]), (Some(URL), &json!(true)));
    assert_eq!(made["request_headers"], json!({ "X-Hook": "t0ken" }));
    let secret = std::fs::read_to_string(&file).unwrap();
    assert_eq!(Some(secret.trim()), made["secret"].as_str());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!shown.contains(secret.trim()), "{shown}");
    let bound = &get(&stack, "/v1/convai/settings").await["webhooks"];
    assert_eq!(
        bound,
        &json!({ "events": ["audio", "transcript", "call_initiation_failure"], "transcript_format": "json",
            "post_call_webhook_id": made["webhook_id"] })
    );

    let (code, shown, _) = register(&stack, &[]).await;
    assert!(code == Some(0) && shown.contains("nothing to change"), "{shown}");
    assert_eq!(stack.simulator.webhooks().len(), 1);

    // ElevenLabs has disabled the webhook after failures. The command enables it.
    stack.simulator.disable_webhook(made["webhook_id"].as_str().unwrap(), false, Some(500));
    let (_, shown, _) = register(&stack, &[]).await;
    assert!(
        shown.contains("done: change") && stack.simulator.webhooks()[0]["is_disabled"] == false,
        "{shown}"
    );

    let (code, _, stderr) = register(&stack, &["--agent", "agent_missing"]).await;
    assert!(code == Some(1) && stderr.contains("does not know it"), "{stderr}");
}

#[tokio::test]
async fn register_rotates_the_secret_and_supports_a_webhook_of_one_agent() {
    let stack = TestStack::builder().without_worker().start().await;
    let (_, first, _) = register(&stack, &["--agent", "agent_own"]).await;
    let id = stack.simulator.webhooks()[0]["webhook_id"].clone();
    assert!(first.contains("ELEVENLABS_WEBHOOK_SECRET=wsec_"), "{first}");
    let own = get(&stack, "/v1/convai/agents/agent_own").await;
    let own = &own["platform_settings"]["workspace_overrides"]["webhooks"]["post_call_webhook_id"];
    assert_eq!(own, &id);
    assert_eq!(get(&stack, "/v1/convai/settings").await["webhooks"]["post_call_webhook_id"], Value::Null);

    let (code, outcome, stderr) = register(&stack, &["--agent", "agent_own", "--rotate", "--json"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("both secrets"), "{stderr}");
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    let webhooks = stack.simulator.webhooks();
    assert_eq!((webhooks.len(), &outcome["webhookId"]), (2, &webhooks[1]["webhook_id"]));
    assert_eq!(outcome["secret"], webhooks[1]["secret"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    std::fs::write(&file, "precious").unwrap();
    let args = ["--secret-file", file.to_str().unwrap()];
    stack.simulator.disable_webhook(webhooks[0]["webhook_id"].as_str().unwrap(), false, None);
    let other = stack
        .command(
            &[&["register"], &args[..]].concat(),
            &[("ELEVENLABS_STATUS_CALLBACK_URL", "https://other.example.com/x")],
        )
        .await;
    assert!(other.0 == Some(1) && other.2.contains("exists"), "{}", other.2);
    assert_eq!(
        (std::fs::read_to_string(&file).unwrap().as_str(), stack.simulator.webhooks().len()),
        ("precious", 2)
    );
    let (code, _, stderr) = stack.command(&["register"], &[]).await;
    assert!(code == Some(1) && stderr.contains("ELEVENLABS_STATUS_CALLBACK_URL"), "{stderr}");
}

#[tokio::test]
async fn worker_reports_a_missing_webhook() {
    let stack = TestStack::builder().worker_env("ELEVENLABS_STATUS_CALLBACK_URL", URL).start().await;
    until("the missing webhook is logged", async || {
        stack.workers[0].log().contains("ElevenLabs has no webhook").then_some(())
    })
    .await;
    let metrics = stack.workers[0].metrics(&stack.http).await;
    assert!(metrics.contains("aftercall_webhook_registration_problems{reason=\"missing\"} 1"), "{metrics}");
    assert!(
        metrics.contains("aftercall_webhook_registration_problems{reason=\"auto_disabled\"} 0"),
        "{metrics}"
    );
}
