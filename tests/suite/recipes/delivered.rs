//! The receivers at work: a webhook of the provider goes through gateway and worker to each of them.

use aftercall_local::ports;
use serde_json::{Value, json};

use super::{Receiver, hubspot::hubspot, n8n, slack::slack, stand_in::StandIn};
use crate::{
    endpoints,
    harness::{SECRET, TestStack, post_signed, until, until_equal},
};

#[tokio::test]
async fn every_recipe_gets_the_outcome_of_a_call() {
    let (crm, chat) = (hubspot().await, StandIn::start(slack).await);
    let workflow = StandIn::start(|_| (200, r#"{"message":"Workflow was started"}"#.to_owned())).await;
    let setup = TestStack::builder().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let setup = setup.worker_env("ROLES", "status,transcripts,api,deliver");
    let stack = setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true").start().await;
    let slack_url = format!("{}/services/T0/B0/token", chat.url);
    let mut receivers = Vec::new();
    for (name, vars) in [
        ("receiver.py", vec![]),
        ("receiver.mjs", vec![]),
        ("slack.mjs", vec![("SLACK_URL", slack_url.as_str())]),
        ("hubspot.py", vec![("HUBSPOT_URL", crm.url.as_str()), ("HUBSPOT_TOKEN", "pat-1")]),
    ] {
        let port = ports::free().unwrap();
        let (_, secret) = endpoints::add(&stack, &format!("http://127.0.0.1:{port}/"), &[]).await;
        receivers.push(Receiver::start_at(port, &secret, name, &vars).await);
    }
    endpoints::add(&stack, &format!("{}/webhook/aftercall", workflow.url), &["--kind", "raw"]).await;

    let body = r#"{ "event_type": "call.busy",  "call_id": "CA7", "to_number": "+12025550123" }"#;
    assert_eq!(post_signed(&stack, SECRET, body).await, 200);
    for receiver in &receivers[..2] {
        let line = "call.outcome CA7 busy";
        until_equal("an event in what is printed", line.to_owned(), async || {
            let printed = receiver.log();
            if printed.contains(line) { line.to_owned() } else { printed }
        })
        .await;
    }
    let asked = until("a message in Slack", async || chat.asked().pop()).await;
    let expected = "Call CA7 to +12025550123 by an unknown agent: *busy*. Recipient was busy";
    assert_eq!(asked.body["text"], expected);
    let logged = until("a log in HubSpot", async || {
        crm.asked().into_iter().find(|asked| asked.path == "/crm/v3/objects/calls")
    })
    .await;
    assert_eq!(logged.body["properties"]["hs_call_status"], "BUSY");
    let forwarded = until("a webhook at n8n", async || workflow.asked().pop()).await;
    assert_eq!(forwarded.raw, body, "the bytes of the webhook");
    let items: Value = serde_json::from_str(&n8n::run(&forwarded.elevenlabs_signature, body).await).unwrap();
    assert_eq!(items[0]["json"]["call_id"], json!("CA7"));
}
