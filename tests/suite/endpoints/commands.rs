//! The commands `endpoints` and `deliveries`.

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::{Answer, Receiver, add, json_lines, publish, stack, until_delivery};
use crate::harness::{until, until_equal, value};

/// Time after which a change of an endpoint counts, with time for the new consumer.
const TAKES_EFFECT: std::time::Duration = std::time::Duration::from_secs(4);

#[tokio::test]
async fn an_endpoint_gets_what_its_filters_name_and_nothing_from_before() {
    let stack = stack().await;
    let (all, some) = (Receiver::accepting().await, Receiver::accepting().await);
    let before = publish(&stack, "call.outcome", "CA0", 1, json!({ "agentId": "agent_1" })).await;
    tokio::time::sleep(std::time::Duration::from_millis(10)).await; // Times of the database have milliseconds.
    add(&stack, &all.url("/"), &[]).await;
    let filters =
        ["--types", "call.outcome,call.erased", "--agents", "agent_1", "--batches", "batch_1,batch_2"];
    add(&stack, &some.url("/"), &filters).await;
    let of = |agent: &str, batch: &str| json!({ "agentId": agent, "batchCallId": batch });
    let mut ids = Vec::new();
    for (event, data) in [
        ("call.outcome", of("agent_1", "batch_2")),
        ("call.status", of("agent_1", "batch_2")),
        ("call.outcome", of("agent_2", "batch_2")),
        ("call.outcome", of("agent_1", "batch_3")),
        ("call.outcome", json!({})),
        ("call.erased", json!({})),
    ] {
        ids.push(publish(&stack, event, "CA1", 1 + ids.len() as u64, data).await);
    }
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    until_equal("all events", sorted(ids.clone()), async || sorted(all.ids())).await;
    let wanted = sorted(vec![ids[0].clone(), ids[5].clone()]);
    until_equal("the selected events", wanted, async || sorted(some.ids())).await;
    // Events from before are sent on request.
    let late = Receiver::accepting().await;
    add(&stack, &late.url("/"), &["--since", "1h"]).await;
    until("an event from before", async || late.ids().contains(&before).then_some(())).await;
}

#[tokio::test]
async fn a_changed_filter_counts_for_later_messages() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &["--types", "call.outcome"]).await;
    let event = async |kind: &str, agent: &str, n: u64| {
        publish(&stack, kind, "CA1", n, json!({ "agentId": agent })).await
    };
    let first = event("call.outcome", "agent_1", 1).await;
    event("call.status", "agent_1", 2).await;
    until_equal("the outcome", vec![first.clone()], async || receiver.ids()).await;

    // Another type needs another subject at the broker, a list of agents does not.
    let filter = async |args: &[&str]| {
        let args = [&["endpoints", "filter", &endpoint, "--json"], args].concat();
        let changed = json_lines(&stack, &args).await.remove(0);
        tokio::time::sleep(TAKES_EFFECT).await;
        changed
    };
    let changed = filter(&["--types", "call.status"]).await;
    assert_eq!((&changed["types"], &changed["agents"]), (&json!(["call.status"]), &json!([])));
    event("call.outcome", "agent_1", 3).await;
    let second = event("call.status", "agent_1", 4).await;
    until_equal("the status", vec![first.clone(), second.clone()], async || receiver.ids()).await;

    let changed = filter(&["--agents", "agent_2"]).await;
    assert_eq!((&changed["types"], &changed["agents"]), (&json!(["call.status"]), &json!(["agent_2"])));
    event("call.status", "agent_1", 5).await;
    let third = event("call.status", "agent_2", 6).await;
    let wanted = vec![first.clone(), second.clone(), third.clone()];
    until_equal("the status of the agent", wanted, async || receiver.ids()).await;

    let changed = filter(&["--types", "", "--agents", ""]).await;
    assert_eq!((&changed["types"], &changed["agents"]), (&json!([]), &json!([])));
    let fourth = event("call.created", "agent_3", 7).await;
    until_equal("every event", vec![first, second, third, fourth], async || receiver.ids()).await;

    for (args, reason) in [
        (vec!["endpoints", "filter", &endpoint, "--types", "call.unknown"], "is no type of the kind events"),
        (vec!["endpoints", "filter", "ep_0000000000000000", "--agents", "a"], "there is no endpoint"),
        (vec!["endpoints", "filter", &endpoint], "required"),
    ] {
        let (code, out, errors) = stack.command(&args, &[]).await;
        assert!(code != Some(0) && errors.contains(reason), "{args:?}: {out}{errors}");
    }
}

#[tokio::test]
async fn a_paused_endpoint_gets_nothing_until_it_is_resumed() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let first = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_equal("the first event", vec![first.clone()], async || receiver.ids()).await;
    json_lines(&stack, &["endpoints", "pause", &endpoint]).await;
    let paused = "aftercall_endpoints{state=\"operator\"}";
    let shown = async || value(&stack.workers[0].metrics(&stack.http).await, paused);
    until_equal("the worker knows it", Some(1.0), shown).await;
    let second = publish(&stack, "call.status", "CA2", 1, json!({})).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(receiver.ids(), [first.as_str()]);
    json_lines(&stack, &["endpoints", "resume", &endpoint]).await;
    until_equal("the second event", vec![first, second], async || receiver.ids()).await;
    json_lines(&stack, &["endpoints", "remove", &endpoint, "--yes"]).await;
    assert_eq!(json_lines(&stack, &["endpoints", "list", "--json"]).await, Vec::<Value>::new());
    let (code, _, stderr) = stack.command(&["endpoints", "resume", &endpoint], &[]).await;
    assert!(code == Some(1) && stderr.contains("there is no endpoint"), "{stderr}");
}

#[tokio::test]
async fn deliveries_are_listed_and_replayed() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let id = publish(&stack, "call.status", &format!("CA{n}"), 1, json!({})).await;
        until_delivery(&stack, &endpoint, &id, |record| record["state"] == "delivered").await;
        ids.push(id);
    }
    let listed = json_lines(&stack, &["deliveries", "list", "--json"]).await;
    let messages: Vec<_> = listed.iter().map(|record| record["messageId"].as_str().unwrap()).collect();
    assert_eq!(messages, [&ids[2], &ids[1], &ids[0]], "the latest first");
    let of_call = json_lines(&stack, &["deliveries", "list", "--call-id", "CA1", "--json"]).await;
    assert_eq!(of_call.len(), 1);
    let failed = json_lines(&stack, &["deliveries", "list", "--state", "failed", "--json"]).await;
    assert_eq!(failed.len(), 0);
    let limited = json_lines(&stack, &["deliveries", "list", "--limit", "2", "--json"]).await;
    assert_eq!(limited.len(), 2);

    // By id, by time, by endpoint.
    let id = format!("{endpoint}:{}", ids[0]);
    json_lines(&stack, &["deliveries", "replay", &id]).await;
    until_equal("one more", 4, async || receiver.ids().len()).await;
    assert_eq!(receiver.ids()[3], ids[0]);
    let until = json_lines(&stack, &["deliveries", "show", &id, "--json"]).await[0]["createdAt"].clone();
    let until = until.as_str().unwrap();
    json_lines(&stack, &["deliveries", "replay", "--endpoint", &endpoint, "--until", until]).await;
    until_equal("one more", 5, async || receiver.ids().len()).await;
    json_lines(&stack, &["deliveries", "replay", "--endpoint", &endpoint]).await;
    until_equal("three more", 8, async || receiver.ids().len()).await;
    let record = until_delivery(&stack, &endpoint, &ids[0], |record| record["attemptCount"] == 4).await;
    assert_eq!(record["state"], "delivered");
    // Without `--json` the commands print tables.
    for args in [&["deliveries", "list"][..], &["deliveries", "show", &id], &["endpoints", "list"]] {
        let (code, said, stderr) = stack.command(args, &[]).await;
        assert!(code == Some(0) && said.contains(&endpoint), "{args:?}: {said}{stderr}");
    }
}

#[tokio::test]
async fn a_test_sends_an_event_at_once_and_shows_the_answer() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(202).saying("thanks")).await;
    let (endpoint, secret) = add(&stack, &receiver.url("/"), &[]).await;
    let attempt = json_lines(&stack, &["endpoints", "test", &endpoint, "--json"]).await;
    assert_eq!((&attempt[0]["status"], &attempt[0]["answer"]), (&json!(202), &json!("thanks")));
    let requests = receiver.received();
    assert_eq!(requests[0].json()["type"], "test.ping");
    let webhook = standardwebhooks::Webhook::new(&secret).unwrap();
    webhook.verify(&requests[0].body, &requests[0].headers).unwrap();
    receiver.answer(|_| Answer::status(401));
    let (code, said, stderr) = stack.command(&["endpoints", "test", &endpoint], &[]).await;
    assert!(
        code == Some(1) && said.contains("status 401") && stderr.contains("did not accept"),
        "{said}{stderr}"
    );
}

#[tokio::test]
async fn neither_secrets_nor_tokens_of_urls_reach_output_and_logs() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(500)).await;
    let (endpoint, secret) = add(&stack, &receiver.url("/services/t0ken?key=t0ken"), &[]).await;
    let rotated = json_lines(&stack, &["endpoints", "rotate", &endpoint, "--json"]).await;
    let new = rotated[0]["secret"].as_str().unwrap().to_owned();
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_delivery(&stack, &endpoint, &id, |record| record["state"] == "waiting").await;
    let mut shown = stack.workers[0].log();
    for args in
        [&["endpoints", "list"][..], &["endpoints", "list", "--json"], &["deliveries", "list", "--json"]]
    {
        shown += &stack.command(args, &[]).await.1;
    }
    for hidden in [secret.as_str(), &new, "whsec_", "t0ken"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}

#[tokio::test]
async fn an_endpoint_beyond_the_limit_is_refused() {
    let stack = stack().await;
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let endpoints = database.collection::<Document>("endpoints");
    // This version cannot read them, but they count.
    endpoints.insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let (code, said, log) = stack.command(&["endpoints", "add", "http://127.0.0.1:9/"], &[]).await;
    assert!(
        code == Some(1) && format!("{said}{log}").contains("there are 100 endpoints already"),
        "{said}{log}"
    );
    assert_eq!(endpoints.count_documents(doc! {}).await.unwrap(), 100);
    endpoints.delete_one(doc! { "_id": 0 }).await.unwrap();
    add(&stack, "http://127.0.0.1:9/", &[]).await;
}
