//! A workspace at ElevenLabs that several systems share: which of its calls and events are Aftercall's.

use std::time::Duration;

use aftercall_local::simulator::{Faults, Options};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::{
    harness::{TestStack, until, until_equal},
    registration::{
        URL, bind_agent, bind_workspace, bound, checked, checking, create_foreign, problems, register,
    },
};

/// The number of agents. Each has one call.
const AGENTS: usize = 10;

/// Places a call of `agent`, without Aftercall.
async fn dial(stack: &TestStack, carrier: &str, agent: &str) {
    let url = format!("{}/v1/convai/{carrier}/outbound-call", stack.simulator.base_url());
    let order = json!({ "agent_id": agent, "agent_phone_number_id": "phnum_1", "to_number": "+15550000000" });
    let answer = stack.http.post(url).header("xi-api-key", "simulated").body(order.to_string()).send().await;
    assert!(answer.unwrap().status().is_success());
}

/// A stack whose agents `agent_0` to `agent_9` had one call each, and whose webhooks were all lost.
async fn shared_workspace() -> TestStack {
    let options = Options { pace: Duration::from_millis(20), ..Options::default() };
    let builder = TestStack::builder().simulator(options).worker_env("ROLES", "status,api");
    let stack = builder.worker_env("RECONCILE_RATE", "100").start().await;
    stack.simulator.set_faults(Faults { lose: 1.0, ..Faults::default() });
    for n in 0..AGENTS {
        let carrier = if n == 0 { "sip-trunk" } else { "twilio" };
        dial(&stack, carrier, &format!("agent_{n}")).await;
    }
    until("every simulated call has ended", async || stack.simulator.settled().then_some(())).await;
    stack
}

/// Runs a pass. Returns the numbers of missing events and of foreign conversations.
async fn reconcile(stack: &TestStack, args: &[&str], vars: &[(&str, &str)]) -> (usize, u64) {
    let args = [&["reconcile", "--json", "--since", "1h"], args].concat();
    let (code, stdout, stderr) = stack.command(&args, vars).await;
    assert_eq!(code, Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    (report["events"].as_array().unwrap().len(), report["foreign"].as_u64().unwrap())
}

#[tokio::test]
async fn reconciliation_adds_the_calls_of_agents_whose_webhook_is_ours() {
    let stack = shared_workspace().await;
    let ours = [("ELEVENLABS_STATUS_CALLBACK_URL", URL)];
    let dry = ["--dry-run"];
    assert_eq!(reconcile(&stack, &dry, &[]).await, (10, 0), "without a URL no agent can be told apart");
    assert_eq!(reconcile(&stack, &dry, &ours).await, (10, 0), "no webhook leads to the URL");

    assert_eq!(register(&stack, &["--replace"]).await.0, Some(0));
    let (own, foreign) = (bound(&stack).await, create_foreign(&stack).await);
    let binding = |id: &Value| json!({ "post_call_webhook_id": id, "events": ["transcript"] });
    bind_agent(&stack, "agent_1", binding(&json!(foreign))).await;
    assert_eq!(reconcile(&stack, &dry, &ours).await, (9, 1), "the workspace is ours, one agent is not");
    stack.simulator.refuse_agents(true);
    assert_eq!(reconcile(&stack, &dry, &ours).await, (10, 0), "the key may not read agents");
    stack.simulator.refuse_agents(false);

    bind_workspace(&stack, &foreign).await;
    for n in 2..5 {
        bind_agent(&stack, &format!("agent_{n}"), binding(&own)).await;
    }
    assert_eq!(reconcile(&stack, &[], &ours).await, (3, 7), "three agents are ours");
    stack.all_acknowledged().await;
    until_equal("stored calls", 3, async || stack.calls.count_documents(doc! {}).await.unwrap()).await;
    let agents = stack.calls.distinct("agentId", doc! {}).await.unwrap();
    assert_eq!(agents, ["agent_2", "agent_3", "agent_4"].map(Into::into));
    assert_eq!(reconcile(&stack, &[], &ours).await, (0, 7));
}

#[tokio::test]
async fn reconciliation_adds_the_calls_of_named_agents_and_channels() {
    let stack = shared_workspace().await;
    let dry = ["--dry-run"];
    #[rustfmt::skip]
    let table = [
        (&[("AGENTS", "agent_0,agent_7")][..],                         (2, 8)),
        (&[("CHANNELS", "twilio")],                                    (9, 1)),
        (&[("CHANNELS", "sip_trunk,web")],                             (1, 9)),
        (&[("AGENTS", "agent_0,agent_7"), ("CHANNELS", "sip_trunk")],  (1, 9)),
        (&[("AGENTS", "agent_10")],                                    (0, 10)),
    ];
    for (vars, expected) in table {
        assert_eq!(reconcile(&stack, &dry, vars).await, expected, "{vars:?}");
    }
}

#[tokio::test]
async fn registration_of_one_agent_is_no_problem() {
    let mut stack = checking().await;
    let foreign = create_foreign(&stack).await;
    assert_eq!(register(&stack, &["--agent", "agent_own"]).await.0, Some(0));
    bind_workspace(&stack, &foreign).await;
    bind_agent(&stack, "agent_other", json!({ "post_call_webhook_id": foreign, "events": ["audio"] })).await;
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 0).await), [""; 0]);
    assert!(!stack.workers[0].log().contains("problem="), "{}", stack.workers[0].log());

    // The agent goes back to the binding of the workspace.
    bind_agent(&stack, "agent_own", json!({})).await;
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 1).await), ["unbound"]);
}

#[tokio::test]
async fn events_that_an_account_does_not_offer_are_not_expected() {
    let mut stack = TestStack::builder()
        .without_worker()
        .worker_env("ELEVENLABS_STATUS_CALLBACK_URL", URL)
        .worker_env("ELEVENLABS_EVENTS", "transcript,call_initiation_failure")
        .start()
        .await;
    assert_eq!(register(&stack, &[]).await.0, Some(0));
    stack.add_worker().await;
    assert_eq!(problems(&checked(&stack, 0).await), [""; 0]);
}

#[tokio::test]
async fn secret_of_a_new_webhook_is_printed_even_if_a_later_step_fails() {
    let stack = TestStack::builder().without_worker().start().await;
    let refused = ["--events", "transcript,call_ringing"];
    let (code, stdout, stderr) = register(&stack, &refused).await;
    assert!(code == Some(1) && stderr.contains("--events"), "{stderr}");
    let secret = stack.simulator.webhooks()[0]["secret"].as_str().unwrap().to_owned();
    assert!(stdout.contains(&format!("ELEVENLABS_WEBHOOK_SECRET={secret}")), "{stdout}");
    // The next run uses this webhook.
    assert_eq!(register(&stack, &[]).await.0, Some(0));
    assert_eq!(stack.simulator.webhooks().len(), 1);
}
