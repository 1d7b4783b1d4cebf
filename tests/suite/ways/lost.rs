//! One pass of reconciliation makes up for lost webhooks, of every kind of conversation.

use std::{collections::HashMap, time::Duration};

use aftercall_common::contract::streams;
use aftercall_local::simulator::{
    Faults, Options, Twilio,
    generated::{Evidence, Generated, generate},
};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::{
    compare::{documents, wrong_values},
    conversations,
};
use crate::harness::{TestStack, until, until_equal};

/// Number of conversations. `AFTERCALL_TEST_CONVERSATIONS` sets another number.
const CONVERSATIONS: u32 = 300;
/// Conversations whose webhooks are sent at the same time. With many more, the gateway would refuse callbacks as
/// an overload, and Twilio repeats a callback once.
const AT_ONCE: usize = 400;
const SEED: u64 = 23;

/// What differs from the truth: one text for each wrong value.
fn wrong(all: &[Generated], documents: &HashMap<String, Vec<Document>>) -> Vec<String> {
    let wrong = all.iter().map(|one| match documents.get(&one.ids.conversation).map(Vec::as_slice) {
        Some([document]) => {
            // A call that was not connected has another status if its webhook arrived.
            let failure = document.contains_key("initiationFailure");
            let evidence = Evidence { callbacks: true, failure, detection: false };
            wrong_values(one, evidence, document)
        }
        several => vec![format!("{} documents of {:?}", several.map_or(0, <[_]>::len), one.plan.channel)],
    });
    wrong.flatten().collect()
}

/// Makes the webhooks of one agent OpenTelemetry traces.
async fn bind_traces(stack: &TestStack) {
    let webhook = stack.simulator.webhooks()[0]["webhook_id"].clone();
    let events = ["transcript", "call_initiation_failure", "answering_machine_detection"];
    let own =
        json!({ "post_call_webhook_id": webhook, "events": events, "transcript_format": "opentelemetry" });
    let patch = json!({ "platform_settings": { "workspace_overrides": { "webhooks": own } } });
    let url = format!("{}/v1/convai/agents/agent_1", stack.simulator.base_url());
    let answer = stack.http.patch(url).header("xi-api-key", "simulated").body(patch.to_string()).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

async fn reconcile(stack: &TestStack, conversations: usize) -> Value {
    let (code, stdout, stderr) = super::reconcile(stack, conversations).await;
    assert_eq!(code, Some(0), "{stderr}");
    stack.all_acknowledged().await;
    let pending = doc! { "transcriptState": "owed", "conversationId": { "$exists": true } };
    until_equal("pending transcripts", 0, async || stack.count(pending.clone()).await).await;
    serde_json::from_str(&stdout).unwrap()
}

#[tokio::test]
async fn one_pass_makes_up_for_lost_webhooks_of_every_kind_of_conversation() {
    let twilio = Twilio { url: String::new(), auth_token: None, public_url: None };
    let stack = TestStack::builder()
        .simulator(Options { twilio: Some(twilio), ..Options::default() })
        .worker_env("ROLES", "status,transcripts,api")
        .worker_env("RECONCILE_RATE", "100")
        .start()
        .await;
    bind_traces(&stack).await;
    let late = Duration::from_secs(2);
    stack.simulator.set_faults(Faults { lose: 0.5, duplicate: 1.0, late, ..Faults::default() });
    let now = jiff::Timestamp::now();
    let all: Vec<_> = (0..conversations(CONVERSATIONS)).flat_map(|n| generate(SEED, n, 0, now)).collect();
    for part in all.chunks(AT_ONCE) {
        stack.simulator.report(part.to_vec());
        until("every webhook is sent", async || stack.simulator.settled().then_some(())).await;
    }
    stack.all_acknowledged().await;
    let before = wrong(&all, &documents(&stack.calls).await).len();
    assert!(before > all.len() / 4, "{before} values are wrong before the pass");

    let report = reconcile(&stack, all.len()).await;
    let found = wrong(&all, &documents(&stack.calls).await);
    assert!(found.is_empty(), "{} of {before}: {:?} {report}", found.len(), &found[..found.len().min(8)]);
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);
    assert_eq!(
        reconcile(&stack, all.len()).await["events"].as_array().map(Vec::len),
        Some(0),
        "a second pass finds nothing"
    );
}
