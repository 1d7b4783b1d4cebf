//! Reconciliation completes calls whose webhooks were lost.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_local::simulator::{Answer, Faults, Options, Outcome, Truth};
use futures_util::{StreamExt as _, future::join_all};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::{
    harness::{CALL_STATUS, TestStack, TestStackBuilder, until, until_equal, value},
    placement::place,
    simulator::dial,
};

fn setup(roles: &str) -> TestStackBuilder {
    let options = Options { pace: Duration::from_millis(20), ..Options::default() };
    TestStack::builder().simulator(options).worker_env("ROLES", roles).worker_env("RECONCILE_RATE", "100")
}

/// The status and the outcome of a call.
fn wanted(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Answered => ("completed", "answered"),
        Outcome::Voicemail => ("completed", "voicemail"),
        Outcome::ConversationFailed | Outcome::Failed => ("failed", "failed"),
        Outcome::Busy => ("busy", "busy"),
        Outcome::NoAnswer => ("no_answer", "no_answer"),
    }
}

fn is_right(call: &Document, truth: &Truth) -> bool {
    let (status, outcome) = wanted(truth.outcome);
    let talked = matches!(truth.outcome, Outcome::Answered | Outcome::Voicemail);
    let failed = !talked;
    call.get_str("status").is_ok_and(|found| found == status)
        && call.get_str("outcome").is_ok_and(|found| found == outcome)
        && call.get_str("failureReason").is_ok_and(|reason| !reason.is_empty()) == failed
        && call.get_str("direction").is_ok_and(|direction| direction == "outbound")
        && call.get_str("channel").is_ok_and(|channel| channel == "twilio")
        && call.contains_key("fromNumber")
        && call.get_str("callId").is_ok_and(|id| id == truth.call_sid)
        && call.get_str("toNumber").is_ok_and(|number| number == truth.to_number)
        && call.get_str("transcriptState").is_ok_and(|state| state == "saved") == talked
        && call.get_array("transcript").is_ok_and(|turns| turns.len() == 5) == talked
}

/// Number of simulated calls whose documents are missing or wrong.
pub async fn wrong(stack: &TestStack) -> usize {
    let mut wrong = 0;
    for truth in stack.simulator.truth() {
        let found = stack.calls.find(doc! { "conversationId": &truth.conversation_id }).await.unwrap();
        let found: Vec<_> = found.map(Result::unwrap).collect().await;
        wrong += usize::from(found.len() != 1 || !is_right(&found[0], &truth));
    }
    wrong
}

pub async fn dial_many(stack: &TestStack, count: usize) {
    for batch in (0..count).collect::<Vec<_>>().chunks(50) {
        join_all(
            batch.iter().map(|n| async move { dial(stack, &format!("+1555{:05}{:02}", n, n % 30)).await }),
        )
        .await;
    }
    until("every simulated call has ended", async || stack.simulator.settled().then_some(())).await;
}

async fn reconcile(stack: &TestStack, args: &[&str]) -> Value {
    let args = [&["reconcile", "--json", "--since", "1h"], args].concat();
    let (code, stdout, stderr) = stack.command(&args, &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[tokio::test]
async fn reconciliation_completes_calls_whose_webhooks_were_lost() {
    let stack = setup("status,transcripts,api").start().await;
    let late = Duration::from_millis(500);
    stack.simulator.set_faults(Faults { lose: 0.5, duplicate: 0.5, late, ..Faults::default() });
    dial_many(&stack, 300).await;
    stack.all_acknowledged().await;
    let before = wrong(&stack).await;
    assert!((80..250).contains(&before), "{before} of 300 calls are wrong before the reconciliation");

    let stored = stack.stored(streams::WEBHOOKS).await;
    let shown = reconcile(&stack, &["--dry-run"]).await;
    assert_eq!(shown["events"].as_array().unwrap().len(), before);
    assert_eq!(stack.stored(streams::WEBHOOKS).await, stored, "a dry run publishes nothing");
    let (_, table, _) = stack.command(&["reconcile", "--dry-run"], &[]).await;
    assert!(table.contains("CONVERSATION") && !table.contains("+1555"), "{table}");

    stack.simulator.set_faults(Faults { rate_limit: 0.05, fail: 0.05, ..Faults::default() });
    let report = reconcile(&stack, &[]).await;
    assert_eq!(
        (report["conversations"].as_u64(), report["events"].as_array().unwrap().len()),
        (Some(300), before)
    );
    stack.simulator.set_faults(Faults::default());
    stack.all_acknowledged().await;
    until_equal("calls that differ from the truth", 0, async || wrong(&stack).await).await;
    let again = reconcile(&stack, &[]).await;
    assert_eq!(again["events"].as_array().unwrap().len(), 0, "{again}");

    // The lost webhooks arrive late, with the same content.
    for truth in stack.simulator.truth().into_iter().filter(|truth| truth.outcome.connects()) {
        let url = format!("{}/v1/convai/conversations/{}", stack.simulator.base_url(), truth.conversation_id);
        let detail = stack.http.get(url).header("xi-api-key", "simulated").send().await.unwrap();
        let detail: Value = detail.json().await.unwrap();
        let now = jiff::Timestamp::now().as_second();
        stack
            .webhook(&json!({ "type": "post_call_transcription", "event_timestamp": now, "data": detail }))
            .await;
    }
    stack.all_acknowledged().await;
    assert_eq!(wrong(&stack).await, 0);
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 300);
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
}

#[tokio::test]
async fn reconciliation_runs_after_an_outage_of_the_broker() {
    let mut stack = setup("status,transcripts,api,reconcile").start().await;
    until("the first reconciliation is complete", async || {
        stack.workers[0].log().contains("reconciled").then_some(())
    })
    .await;
    stack.nats.kill().await.unwrap();
    dial_many(&stack, 40).await;
    let refused = stack.post_to(CALL_STATUS, "{}").await;
    assert_eq!(refused.status, 503);
    stack.nats.restart().await.unwrap();
    until_equal("calls that differ from the truth", 0, async || wrong(&stack).await).await;
    let metrics = stack.workers[0].metrics(&stack.http).await;
    let unreported = value(&metrics, "aftercall_reconciled_events_total{reason=\"unreported\"}");
    assert!(unreported.is_some_and(|events| events > 0.0), "{metrics}");
    assert!(metrics.contains("aftercall_last_reconciliation_timestamp_seconds 1"), "{metrics}");
}

#[tokio::test]
async fn reconciliation_after_an_outage_waits_for_the_pass_of_another_worker() {
    let mut stack = setup("status,transcripts,api,reconcile").start().await;
    let passes = |stack: &TestStack| stack.workers[0].log().matches("conversations reconciled").count();
    until("the first reconciliation is complete", async || (passes(&stack) == 1).then_some(())).await;
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let state = database.collection::<Document>("reconciliation");
    let set = async |lease: Document| state.update_one(doc! { "_id": "pass" }, lease).await.unwrap();
    let later = mongodb::bson::DateTime::from_millis(jiff::Timestamp::now().as_millisecond() + 3_600_000);
    set(doc! { "$set": { "owner": "another worker", "leaseUntil": later } }).await;
    stack.nats.kill().await.unwrap();
    dial_many(&stack, 10).await;
    stack.nats.restart().await.unwrap();
    stack.workers[0].until_ready(&stack.http).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // The worker finds that the lease is taken.
    assert_eq!(passes(&stack), 1);
    // The other worker's pass has failed.
    set(doc! { "$unset": { "owner": "", "leaseUntil": "" } }).await;
    until_equal("calls that differ from the truth", 0, async || wrong(&stack).await).await;
}

#[tokio::test]
async fn placement_with_unknown_outcome_is_found_or_given_up() {
    let stack = setup("status,transcripts,api").worker_env("PLACE_TIMEOUT", "300ms").start().await;
    stack.simulator.set_faults(Faults { hang_after_dial: 1.0, ..Faults::default() });
    let order =
        |number: &str| json!({ "agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": number });
    let mut keys = Vec::new();
    for n in 0..12 {
        let (key, number) = (format!("key-{n}"), format!("+15550000{n:02}{:02}", n % 6));
        let answer = place(&stack, &order(&number), Some(&key)).await;
        assert_eq!((answer.status, answer.code()), (504, "outcome_unknown"));
        keys.push((key, number));
    }
    stack.simulator.set_faults(Faults { hang_before_dial: 1.0, ..Faults::default() });
    let answer = place(&stack, &order("+15550009900"), Some("never")).await;
    assert_eq!((answer.status, answer.code()), (504, "outcome_unknown"));
    stack.simulator.set_faults(Faults::default());
    until("every simulated call has ended", async || stack.simulator.settled().then_some(())).await;
    stack.all_acknowledged().await;
    assert!(
        stack.calls.count_documents(doc! {}).await.unwrap() > 13,
        "a call that did not connect has two documents before the reconciliation"
    );

    reconcile(&stack, &[]).await;
    stack.all_acknowledged().await;
    until_equal("calls that differ from the truth", 0, async || wrong(&stack).await).await;
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 13);
    for (key, number) in &keys {
        let answer = place(&stack, &order(number), Some(key)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    assert_eq!(stack.simulator.dialled().len(), 12);

    // A placement that ElevenLabs does not know stays unknown for a while, and is then given up.
    let never = doc! { "_idempotencyKey": "never" };
    assert_eq!(stack.document(never.clone()).await.get_str("status").unwrap(), "initiated");
    let long_ago =
        mongodb::bson::DateTime::from_millis(mongodb::bson::DateTime::now().timestamp_millis() - 1_200_000);
    stack.calls.update_one(never.clone(), doc! { "$set": { "_placement.at": long_ago } }).await.unwrap();
    assert_eq!(reconcile(&stack, &[]).await["placementsGivenUp"], 1);
    let call = stack.document(never).await;
    assert_eq!(call.get_str("status").unwrap(), "initiation_failed");
    assert_eq!(call.get_str("failureReason").unwrap(), "ElevenLabs knows no such call");
}

#[tokio::test]
async fn invalid_reconcile_commands_fail_with_an_explanation() {
    /// Arguments, variables, exit code, expected text.
    type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], i32, &'static str);
    #[rustfmt::skip]
    let table: [Row; 5] = [
        (&["reconcile", "--since", "yesterday"],                  &[],                                     2, "--since"),
        (&["reconcile", "--since", "1h", "--until", "2h"],        &[],                                     1, "--since must be before --until"),
        (&["reconcile"],                                          &[("ELEVENLABS_API_KEY", "")],           1, "ELEVENLABS_API_KEY"),
        (&["reconcile"],                                          &[("NATS_URL", "nats://127.0.0.1:9")],   1, "NATS does not answer"),
        (&["reconcile"],                                          &[("RECONCILE_RATE", "0")],              78, "RECONCILE_RATE"),
    ];
    let stack = TestStack::builder().without_worker().start().await;
    for (args, vars, code, word) in table {
        let (found, _, stderr) = stack.command(args, vars).await;
        assert_eq!(found, Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(word) && stderr.lines().last().is_some(), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn placement_whose_call_continues_is_not_given_up() {
    let options = Options { pace: Duration::from_secs(3), ..Options::default() };
    let setup = TestStack::builder().simulator(options).worker_env("ROLES", "status,transcripts,api");
    let stack = setup.worker_env("PLACE_TIMEOUT", "300ms").start().await;
    stack.simulator.set_faults(Faults { hang_after_dial: 1.0, ..Faults::default() });
    let order = json!({ "agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": "+15550000000" });
    assert_eq!(place(&stack, &order, None).await.code(), "outcome_unknown");
    let call = stack.document(doc! { "_placement.state": "unknown" }).await;
    let long_ago =
        mongodb::bson::DateTime::from_millis(mongodb::bson::DateTime::now().timestamp_millis() - 1_800_000);
    let aged = doc! { "$set": { "_placement.at": long_ago } };
    stack.calls.update_one(doc! { "_id": call.get("_id") }, aged).await.unwrap();
    let report = reconcile(&stack, &[]).await;
    assert_eq!((&report["placementsGivenUp"], &report["events"]), (&json!(0), &json!([])));
    // The webhook of the call joins the two documents. Which one remains depends on whether the webhook of
    // the recording arrived first.
    let placement = call.get_str("_placementId").unwrap();
    let ended = stack.document(doc! { "status": "completed", "_placementId": placement }).await;
    assert!(ended.get_document("requestPayload").is_ok(), "{ended}");
    assert_eq!(stack.calls.count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test]
async fn call_that_nobody_concludes_ends_with_an_unknown_outcome() {
    let stack = setup("status,api").worker_env("STATUS_STALE_AFTER", "0s").start().await;
    let hours_ago = |hours: i64| jiff::Timestamp::now().as_second() - hours * 3600;
    let calls = [
        ("old", hours_ago(3), Answer::NotFound),
        ("new", hours_ago(2), Answer::NotFound),
        ("refused", hours_ago(3), Answer::Status(422)),
    ];
    for (id, began, answer) in calls {
        stack.simulator.script(id, [answer]);
        stack
            .webhook(&json!({ "event_type": "call.ringing", "conversation_id": id, "timestamp": began }))
            .await;
    }
    stack.all_acknowledged().await;
    let stale = [("STATUS_STALE_AFTER", "0s")];
    let pass = async || {
        let (code, stdout, stderr) = stack.command(&["reconcile", "--json", "--since", "1h"], &stale).await;
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()["unconcluded"].as_u64()
    };
    assert_eq!((pass().await, pass().await), (Some(2), Some(0)), "each call is concluded once");
    stack.document(doc! { "conversationId": "refused", "outcome": "unknown" }).await;
    let old = stack.document(doc! { "conversationId": "old", "outcome": "unknown" }).await;
    assert_eq!(old.get_str("status").unwrap(), "ringing");
    stack.document(doc! { "conversationId": "new", "outcome": { "$exists": false } }).await;
    // Whoever concludes the call later is believed.
    stack.webhook(&json!({ "event_type": "call.ended", "conversation_id": "old" })).await;
    stack.document(doc! { "conversationId": "old", "outcome": "answered", "status": "ended" }).await;
}
