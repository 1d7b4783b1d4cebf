//! The registration of the webhook at ElevenLabs: created, bound and checked, by the command and by a worker.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use aftercall_local::process::Signal;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{Service, TestStack, post_signed, until};

pub const URL: &str = "https://hooks.example.com/api/webhooks/elevenlabs/call-status";
const SETTINGS: &str = "/v1/convai/settings";
/// The URL of somebody else's webhook. Its path is a secret.
const FOREIGN_URL: &str = "https://crm.example.com/hooks/t0ken";

pub async fn register(stack: &TestStack, args: &[&str]) -> (Option<i32>, String, String) {
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
    let otel = json!({ "webhooks": { "events": ["audio"], "transcript_format": "opentelemetry" } });
    patch(&stack, SETTINGS, otel).await;
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
    let bound = &get(&stack, SETTINGS).await["webhooks"];
    assert_eq!(
        bound,
        &json!({ "events": ["audio", "transcript", "call_initiation_failure", "answering_machine_detection"],
            "transcript_format": "json", "post_call_webhook_id": made["webhook_id"] })
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
    assert_eq!(bound(&stack).await, Value::Null);

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

/// Creates somebody else's webhook. Returns its id.
pub async fn create_foreign(stack: &TestStack) -> String {
    let request = stack.http.post(format!("{}/v1/workspace/webhooks", stack.simulator.base_url()));
    let settings = json!({ "auth_type": "hmac", "name": "CRM", "webhook_url": FOREIGN_URL });
    let body = json!({ "settings": settings }).to_string();
    let answer = request.header("xi-api-key", "simulated").body(body).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["webhook_id"].as_str().unwrap().to_owned()
}

/// Binds the webhook `id` to the workspace.
pub async fn bind_workspace(stack: &TestStack, id: &str) {
    let webhooks =
        json!({ "post_call_webhook_id": id, "events": ["transcript"], "transcript_format": "json" });
    patch(stack, SETTINGS, json!({ "webhooks": webhooks })).await;
}

/// Gives an agent a binding of its own.
pub async fn bind_agent(stack: &TestStack, agent: &str, webhooks: Value) {
    let body = json!({ "platform_settings": { "workspace_overrides": { "webhooks": webhooks } } });
    patch(stack, &format!("/v1/convai/agents/{agent}"), body).await;
}

/// The id of the webhook that is bound to the workspace.
pub async fn bound(stack: &TestStack) -> Value {
    get(stack, SETTINGS).await["webhooks"]["post_call_webhook_id"].clone()
}

/// A stack without workers. Workers that a test adds check the registration, and read 100 agents per second.
pub async fn checking() -> TestStack {
    let builder = TestStack::builder().without_worker().worker_env("RECONCILE_RATE", "100");
    builder.worker_env("ELEVENLABS_STATUS_CALLBACK_URL", URL).start().await
}

/// A stack without workers. Workers that a test adds register the webhook and write its secret to `file`.
async fn registering(file: &Path) -> TestStack {
    let builder = TestStack::builder().without_worker().worker_env("REGISTER", "true");
    let builder = builder.worker_env("SECRET_FILE", file.to_str().unwrap());
    builder.worker_env("ELEVENLABS_STATUS_CALLBACK_URL", URL).start().await
}

/// Waits until the worker `n` has checked the registration. Returns its metrics.
pub async fn checked(stack: &TestStack, n: usize) -> String {
    until("the worker has checked the registration", async || {
        let metrics = stack.workers[n].metrics(&stack.http).await;
        // The last metric that a check sets.
        metrics.contains(r#"registration_problems{reason="failing"}"#).then_some(metrics)
    })
    .await
}

/// The problems that these metrics show.
pub fn problems(metrics: &str) -> Vec<&str> {
    let series = metrics.lines().filter_map(|line| {
        line.strip_prefix(r#"aftercall_webhook_registration_problems{reason=""#)?.strip_suffix(r#""} 1"#)
    });
    let mut problems: Vec<_> = series.collect();
    problems.sort_unstable();
    problems
}

#[tokio::test]
async fn register_takes_the_events_of_another_webhook_only_with_replace() {
    let stack = TestStack::builder().without_worker().start().await;
    let foreign = create_foreign(&stack).await;
    bind_workspace(&stack, &foreign).await;
    let (code, shown, stderr) = register(&stack, &[]).await;
    let named = format!("\"CRM\" ({foreign}, host crm.example.com)");
    assert!(code == Some(1) && stderr.contains(&named) && stderr.contains("--replace"), "{stderr}");
    assert!(!stderr.contains("t0ken") && shown.is_empty(), "{stderr} {shown}");
    // An agent without a binding of its own uses that of the workspace.
    let (code, _, stderr) = register(&stack, &["--agent", "agent_own"]).await;
    assert!(code == Some(1) && stderr.contains(&named), "{stderr}");
    let (code, shown, _) = register(&stack, &["--dry-run"]).await;
    assert!(code == Some(0) && shown.contains(&format!("would displace the webhook {named}")), "{shown}");
    assert_eq!((stack.simulator.webhooks().len(), bound(&stack).await), (1, json!(foreign)));

    bind_agent(&stack, "agent_crm", json!({ "post_call_webhook_id": foreign, "events": ["transcript"] }))
        .await;
    let (code, outcome, stderr) = register(&stack, &["--replace", "--json"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    let crm = json!({ "webhookId": foreign, "name": "CRM", "host": "crm.example.com" });
    assert_eq!(outcome["displaced"], crm);
    assert_eq!(outcome["overrides"], json!([{ "agentId": "agent_crm", "webhook": crm }]));
    assert_eq!((bound(&stack).await, stack.simulator.webhooks().len()), (outcome["webhookId"].clone(), 2));

    let (code, shown, _) = register(&stack, &[]).await;
    assert!(code == Some(0) && shown.contains("nothing to change"), "{shown}");
    assert!(shown.contains(&format!("agent agent_crm sends its events to the webhook {named}")), "{shown}");
    let (code, _, stderr) = register(&stack, &["--events", "transcript,call.ringing"]).await;
    assert!(code == Some(1) && stderr.contains("--events"), "{stderr}");
}

#[tokio::test]
async fn worker_reports_a_missing_webhook_also_with_a_key_that_may_not_read_agents() {
    let mut stack = checking().await;
    stack.simulator.refuse_agents(true);
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 0).await), ["missing"]);
    let log = stack.workers[0].log();
    assert!(
        log.contains("ElevenLabs has no webhook") && log.contains("bindings of some agents are not checked"),
        "{log}"
    );
}

#[tokio::test]
async fn worker_reports_by_agent_what_was_changed_at_elevenlabs() {
    let mut stack = checking().await;
    assert_eq!(register(&stack, &[]).await.0, Some(0));
    let (ours, foreign) = (bound(&stack).await, create_foreign(&stack).await);
    let events = ["transcript", "call_initiation_failure", "answering_machine_detection"];
    let otel =
        json!({ "post_call_webhook_id": ours, "events": events, "transcript_format": "opentelemetry" });
    bind_agent(&stack, "agent_otel", otel).await;
    bind_agent(&stack, "agent_half", json!({ "post_call_webhook_id": ours, "events": ["transcript"] })).await;
    bind_agent(&stack, "agent_crm", json!({ "post_call_webhook_id": foreign, "events": events })).await;
    // More agents than one page of their list has.
    for n in 0..100 {
        bind_agent(&stack, &format!("agent_a{n:03}"), json!({})).await;
    }
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 0).await), ["events", "overridden", "transcript_format"]);
    let log = stack.workers[0].log();
    let line = |problem: &str| {
        let mut lines = log.lines().filter(|line| line.contains(&format!("problem=\"{problem}\"")));
        let line = lines.next().unwrap_or_else(|| panic!("{problem} is not logged: {log}"));
        assert_eq!(lines.next(), None);
        line
    };
    assert!(line("transcript_format").contains("agent_otel"), "{log}");
    assert!(line("events").contains("agent_half") && line("events").contains("answering_machine_detection"));
    assert!(line("overridden").contains("agent_crm") && line("overridden").contains("crm.example.com"));
    assert!(!log.contains("t0ken"), "{log}");
}

#[tokio::test]
async fn workers_register_the_webhook_once_and_the_gateway_reads_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let path = file.to_str().unwrap().to_owned();
    // The gateway starts before there is a secret.
    let builder = TestStack::builder().without_worker().gateway_env("ELEVENLABS_WEBHOOK_SECRET_FILE", &path);
    let builder = builder.gateway_env("ALLOW_UNSIGNED", "true");
    let builder = builder.worker_env("REGISTER", "true").worker_env("SECRET_FILE", &path);
    let mut stack = builder.worker_env("ELEVENLABS_STATUS_CALLBACK_URL", URL).start().await;
    // Two workers start together.
    let (first, second) = (stack.worker_command(), stack.worker_command());
    let start = async |(command, admin)| Service::start(command, admin).await;
    let (mut first, mut second) = tokio::join!(start(first), start(second));
    first.until_ready(&stack.http).await;
    second.until_ready(&stack.http).await;
    stack.workers.extend([first, second]);
    for n in [0, 1] {
        assert_eq!(problems(&checked(&stack, n).await), [""; 0], "{}", stack.workers[n].log());
    }
    let webhooks = stack.simulator.webhooks();
    assert_eq!((webhooks.len(), webhooks[0]["retry_enabled"].clone()), (1, json!(true)));
    assert_eq!(bound(&stack).await, webhooks[0]["webhook_id"]);
    let secret = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(Some(secret.as_str()), webhooks[0]["secret"].as_str());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    stack.gateway.signal(Signal::SIGHUP);
    let body = |n: &str| json!({ "probe": n }).to_string();
    until("the gateway refuses another secret", async || {
        (post_signed(&stack, "wsec_other", &body("other")).await == 401).then_some(())
    })
    .await;
    assert_eq!(post_signed(&stack, &secret, &body("first")).await, 200);

    // A restart changes nothing.
    let settings = get(&stack, SETTINGS).await;
    let registered = |stack: &TestStack| stack.workers[0].log().matches("registered at ElevenLabs").count();
    assert_eq!(registered(&stack), 3, "one line for each step: {}", stack.workers[0].log());
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 2).await), [""; 0], "{}", stack.workers[2].log());
    assert_eq!((stack.simulator.webhooks().len(), get(&stack, SETTINGS).await), (1, settings));
    assert_eq!(registered(&stack), 3, "all workers write to one log: {}", stack.workers[0].log());

    // A rotation keeps the old secret in the file, so that the gateway accepts both.
    let (code, shown, stderr) = register(&stack, &["--rotate"]).await;
    assert!(code == Some(0) && !shown.contains("wsec_"), "{shown} {stderr}");
    let new = stack.simulator.webhooks()[1]["secret"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{new}\n{secret}\n"));
    stack.gateway.signal(Signal::SIGHUP);
    until("the gateway accepts the new secret", async || {
        (post_signed(&stack, &new, &body("new")).await == 200).then_some(())
    })
    .await;
    assert_eq!(post_signed(&stack, &secret, &body("old")).await, 200);
    let logs: String = stack.workers.iter().map(Service::log).chain([stack.gateway.log()]).collect();
    assert!(!logs.contains("wsec_"), "{logs}");
}

#[tokio::test]
async fn worker_waits_while_another_worker_registers() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = registering(&folder.path().join("secret")).await;
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let leases = database.collection::<Document>("reconciliation");
    let until_then =
        mongodb::bson::DateTime::from_millis(jiff::Timestamp::now().as_millisecond() + 3_600_000);
    let lease = doc! { "_id": "registration", "owner": "another", "leaseUntil": until_then };
    leases.insert_one(lease).await.unwrap();
    stack.add_worker().await;
    until("the worker waits", async || {
        stack.workers[0].log().contains("another worker registers").then_some(())
    })
    .await;
    assert_eq!(stack.simulator.webhooks().len(), 0);
    leases.delete_one(doc! { "_id": "registration" }).await.unwrap();
    assert_eq!(problems(&checked(&stack, 0).await), [""; 0]);
    assert_eq!(stack.simulator.webhooks().len(), 1);
}

#[tokio::test]
async fn worker_that_registers_never_takes_the_events_of_another_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let mut stack = registering(&file).await;
    let foreign = create_foreign(&stack).await;
    bind_workspace(&stack, &foreign).await;
    let before = (stack.simulator.webhooks(), get(&stack, SETTINGS).await);
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 0).await), ["missing"]);
    let log = stack.workers[0].log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains(&foreign) && lines[0].contains("crm.example.com"), "{log}");
    assert!(lines[0].contains("register --replace") && !log.contains("t0ken"), "{log}");
    assert_eq!((stack.simulator.webhooks(), get(&stack, SETTINGS).await), before);
    assert!(!file.exists());
}

#[tokio::test]
async fn worker_that_cannot_register_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = registering(&folder.path().join("none/secret")).await;
    stack.add_worker().await;
    until("the failure is logged", async || {
        stack.workers[0].log().contains("SECRET_FILE: cannot write").then_some(())
    })
    .await;
    assert_eq!(stack.simulator.webhooks().len(), 0, "no webhook without a place for its secret");
    stack.workers[0].until_ready(&stack.http.clone()).await;

    // A folder cannot be replaced by a file. The new webhook, whose secret is lost, is deleted again.
    let folder_as_file =
        [("ELEVENLABS_STATUS_CALLBACK_URL", URL), ("SECRET_FILE", folder.path().to_str().unwrap())];
    let (code, shown, stderr) = stack.command(&["register"], &folder_as_file).await;
    assert!(code == Some(1) && stderr.contains("SECRET_FILE: cannot write"), "{stderr}");
    assert!(shown.is_empty() && !stderr.contains("wsec_"), "{shown} {stderr}");
    assert_eq!(stack.simulator.webhooks().len(), 0, "no webhook is left whose secret is lost");

    // The webhook exists, but `SECRET_FILE` does not: the webhook stays as it is, and the log says what to do.
    assert_eq!(
        register(&stack, &["--secret-file", folder.path().join("s").to_str().unwrap()]).await.0,
        Some(0)
    );
    // Nobody binds it either, because nobody may have its secret.
    patch(&stack, SETTINGS, json!({ "webhooks": { "post_call_webhook_id": null } })).await;
    stack.worker_env("SECRET_FILE", folder.path().join("other").to_str().unwrap());
    stack.add_worker().await;
    until("the missing secret is logged", async || {
        stack.workers[1].log().contains("SECRET_FILE does not exist").then_some(())
    })
    .await;
    assert_eq!((stack.simulator.webhooks().len(), folder.path().join("other").exists()), (1, false));
    assert_eq!(bound(&stack).await, Value::Null);
}
