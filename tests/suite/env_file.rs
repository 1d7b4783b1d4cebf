//! `ENV_FILE` as a flat YAML file.

use aftercall_local::process::Signal;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{SECRET, Service, TestStack, post_signed, until};

/// A file of the product's form: flat, with comments, and with values in and out of quotes.
const FILE: &str = r#"# Settings of this machine
ELEVENLABS_WEBHOOK_SECRET: "SECRET"   # signs every webhook
ALLOWED_SOURCES: 'loopback'

MAX_BODY_BYTES: 1000
MONGODB_DATABASE: test_env_file
STATUS_STALE_AFTER: 90s
"#;

#[tokio::test]
async fn gateway_and_worker_run_with_a_flat_yaml_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("application-local.yaml");
    std::fs::write(&path, FILE.replace("SECRET\"", &format!("{SECRET}\""))).unwrap();
    let file = path.to_str().unwrap();
    let mut stack = TestStack::builder().env("ENV_FILE", file).start().await;

    let event = json!({ "event_type": "call.busy", "call_id": "yaml" }).to_string();
    assert_eq!(post_signed(&stack, "other", &event).await, 401, "the secret is not set");
    assert_eq!(post_signed(&stack, SECRET, &event).await, 200);
    assert_eq!(post_signed(&stack, SECRET, &"x".repeat(1001)).await, 413, "MAX_BODY_BYTES is not set");
    let calls =
        stack.calls.client().database("test_env_file").collection::<mongodb::bson::Document>("agent_calls");
    until("the call is in the database that the file names", async || {
        calls.find_one(doc! { "callId": "yaml", "status": "busy" }).await.unwrap()
    })
    .await;
    let (code, out, errors) = stack.command(&["check"], &[]).await;
    assert!(code == Some(0) && out.contains("STATUS_STALE_AFTER=90s"), "{out}{errors}");

    // SIGHUP reads the file again.
    std::fs::write(&path, FILE.replace("SECRET\"", "wsec_next\"").replace("loopback", "loopback,10.0.0.0/8"))
        .unwrap();
    stack.gateway.signal(Signal::SIGHUP);
    until("the new secret is valid", async || {
        (post_signed(&stack, "wsec_next", &event).await == 200).then_some(())
    })
    .await;
    assert!(!stack.gateway.log().contains("wsec_next"));
}

#[tokio::test]
async fn a_yaml_file_that_is_not_flat_stops_the_start_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("application-local.yml");
    std::fs::write(&path, "ALLOW_UNSIGNED: true\nELEVENLABS:\n  API_KEY: s3cret\n").unwrap();
    for part in ["gateway", "worker"] {
        let (code, log) = Service::run_to_exit(part, &[("ENV_FILE", path.to_str().unwrap())]).await;
        assert_eq!((code, log.lines().count()), (Some(78), 1), "{log}");
        assert!(log.contains("ENV_FILE: line 3 is nested") && !log.contains("s3cret"), "{log}");
    }
}
