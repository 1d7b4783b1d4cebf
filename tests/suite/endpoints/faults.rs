//! Endpoints under faults: killed workers, a failure for days, a certificate that is not trusted.

use std::{collections::BTreeSet, time::Duration};

use aftercall_common::contract::streams;
use aftercall_local::process::Signal;
use async_nats::jetstream::consumer::PullConsumer;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use super::{Answer, Receiver, add, json_lines, publish, stack, until_delivery};
use crate::harness::{Authority, TestStack, until, until_equal, value, within_more};

#[tokio::test]
async fn killed_workers_lose_no_event() {
    const EVENTS: usize = 300;
    let mut stack = stack().await;
    stack.add_worker().await;
    // Slow enough that a worker is killed while it sends.
    let receiver =
        Receiver::start(|_| Answer { delay: Duration::from_millis(30), ..Answer::status(200) }).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let mut wanted = BTreeSet::new();
    for n in 0..EVENTS {
        wanted.insert(publish(&stack, "call.status", &format!("CA{n}"), 1, json!({})).await);
        if n % 100 == 50 {
            let killed = &mut stack.workers[(n / 100) % 2];
            killed.kill().await;
            killed.restart().await;
        }
    }
    // The broker delivers the messages of a killed worker again after a minute.
    let all = async {
        while receiver.ids().into_iter().collect::<BTreeSet<_>>() != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within_more("all events", Duration::from_mins(1), all).await;
    let failed = ["deliveries", "list", "--endpoint", &endpoint, "--state", "failed", "--json"];
    assert_eq!(json_lines(&stack, &failed).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_stopping_worker_finishes_its_requests_and_leaves_the_rest_to_others() {
    let mut stack = stack().await;
    let receiver =
        Receiver::start(|_| Answer { delay: Duration::from_millis(500), ..Answer::status(200) }).await;
    add(&stack, &receiver.url("/"), &[]).await;
    let mut wanted = BTreeSet::new();
    for n in 0..40 {
        wanted.insert(publish(&stack, "call.status", &format!("CA{n}"), 1, json!({})).await);
    }
    until("requests are open", async || (!receiver.ids().is_empty()).then_some(())).await;
    stack.workers[0].signal(Signal::SIGTERM);
    stack.workers[0].ended().await;
    stack.add_worker().await;
    // An aborted request would have no record before the broker delivers its message again, which takes a minute.
    let listed = ["deliveries", "list", "--state", "delivered", "--limit", "100", "--json"];
    until_equal("records of deliveries", 40, async || json_lines(&stack, &listed).await.len()).await;
    assert_eq!(receiver.ids().into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(receiver.ids().len(), 40, "none was sent twice");
}

#[tokio::test]
async fn an_endpoint_that_fails_for_five_days_is_paused_and_shown() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(500)).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_delivery(&stack, &endpoint, &id, |_| true).await;
    let listed = async || json_lines(&stack, &["endpoints", "list", "--json"]).await[0].clone();
    assert_eq!(listed().await["state"], "active");
    assert!(listed().await["failingSince"].is_string());
    let worker = async |series: &str| value(&stack.workers[0].metrics(&stack.http).await, series);

    // The endpoint has failed for 119 hours, less than five days: it stays active after the next failure.
    let endpoints: mongodb::Collection<Document> =
        stack.calls.client().database(&stack.calls.namespace().db).collection("endpoints");
    let set_failing_for = async |hours: i64| {
        let since = DateTime::from_millis(DateTime::now().timestamp_millis() - hours * 3_600_000);
        endpoints.update_one(doc! {}, doc! { "$set": { "failingSince": since } }).await.unwrap();
        until("the worker has read the time", async || {
            let age = worker("aftercall_endpoint_failing_age_seconds").await.unwrap();
            (age > 3599.0 * f64::from(i32::try_from(hours).unwrap())).then_some(())
        })
        .await;
    };
    set_failing_for(119).await;
    let id = publish(&stack, "call.status", "CA2", 1, json!({})).await;
    until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!(listed().await["state"], "active");

    // Once it has accepted a message, a failure is the first one again, also for a worker that has not noticed yet.
    set_failing_for(121).await;
    receiver.answer(|_| Answer::status(200));
    publish(&stack, "call.status", "CA4", 1, json!({})).await;
    until("the failure is over", async || listed().await.get("failingSince").is_none().then_some(())).await;
    receiver.answer(|_| Answer::status(500));
    let id = publish(&stack, "call.status", "CA5", 1, json!({})).await;
    until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!(listed().await["state"], "active");
    until("the new failure is known", async || listed().await.get("failingSince").map(drop)).await;

    set_failing_for(121).await;
    publish(&stack, "call.status", "CA3", 1, json!({})).await;
    let state = async || (listed().await["state"].clone(), listed().await["reason"].clone());
    until_equal("the endpoint is paused", (json!("paused"), json!("failing")), state).await;
    let paused = async || worker("aftercall_endpoints{state=\"failing\"}").await;
    until_equal("the metric of the alert", Some(1.0), paused).await;
    assert!(stack.workers[0].log().contains("an endpoint gets nothing any more"));
    // The receiver accepts again: after `resume`, waiting messages are delivered, and the time is removed.
    receiver.answer(|_| Answer::status(200));
    json_lines(&stack, &["endpoints", "resume", &endpoint]).await;
    until_delivery(&stack, &endpoint, &id, |record| record["state"] == "delivered").await;
    assert!(listed().await.get("failingSince").is_none());
}

#[tokio::test]
async fn a_certificate_is_checked() {
    let authority = Authority::new(2031);
    let (certificate, key) = authority.issue();
    // The gateway is the receiver, because it speaks TLS. It has no such path, and answers 404.
    let setup = TestStack::builder().worker_env("ROLES", "deliver");
    let setup = setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let setup = setup.gateway_env("TLS_CERT_FILE", certificate.to_str().unwrap());
    let stack = setup.gateway_env("TLS_KEY_FILE", key.to_str().unwrap()).start().await;
    let url = format!("https://localhost:{}/hook", stack.public.port());
    let (endpoint, _) = add(&stack, &url, &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!(record["attempts"][0]["error"], "certificate");
    // A receiver that does not speak TLS has no certificate that could be invalid.
    let plain = Receiver::accepting().await;
    let url = plain.url("/").replace("http:", "https:");
    let (other, _) = add(&stack, &url, &["--since", "1h"]).await;
    let record = until_delivery(&stack, &other, &id, |_| true).await;
    assert_eq!(record["attempts"][0]["error"], "not_connected");
    // An authority that the machine trusts.
    let trusted = [("SSL_CERT_FILE", authority.file("authority.pem").to_str().unwrap().to_owned())];
    let trusted = trusted.each_ref().map(|(name, file)| (*name, file.as_str()));
    let (_, said, stderr) = stack.command(&["endpoints", "test", &endpoint], &trusted).await;
    assert!(said.contains("status 404"), "{said}{stderr}");
}

#[tokio::test]
async fn a_call_reaches_an_endpoint_from_webhook_to_signed_event() {
    let setup = TestStack::builder().worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let stack = setup.start().await;
    let receiver = Receiver::accepting().await;
    let (_, secret) = add(&stack, &receiver.url("/"), &["--types", "call.outcome"]).await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "CA1", "conversation_id": "conv_1" })).await;
    until_equal("requests", 1, async || receiver.received().len()).await;
    let request = &receiver.received()[0];
    let event = request.json();
    assert_eq!((&event["type"], &event["data"]["outcome"]), (&json!("call.outcome"), &json!("busy")));
    assert_eq!(event["data"]["conversationId"], "conv_1");
    assert!(event["data"]["revision"].is_i64() && event["timestamp"].is_string());
    let webhook = standardwebhooks::Webhook::new(&secret).unwrap();
    webhook.verify(&request.body, &request.headers).unwrap();
    assert!(request.header("webhook-id").ends_with(":call.outcome"));
    // `forget` erases the record, and the receiver hears that the call is erased.
    let all = Receiver::accepting().await;
    add(&stack, &all.url("/"), &["--types", "call.erased"]).await;
    let (code, said, stderr) = stack.command(&["forget", "--call-id", "CA1", "--yes", "--json"], &[]).await;
    assert_eq!(code, Some(0), "{said}{stderr}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["deliveries"].as_u64() >= Some(1), "{said}");
    until_equal("the erasure", 1, async || all.received().len()).await;
    assert_eq!(all.received()[0].json()["data"]["callId"], "CA1");
}

#[tokio::test]
async fn an_event_of_an_unknown_type_waits_for_a_later_version() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let unknown = stack.jetstream.publish("calls.future", r#"{"type":"call.future"}"#.into()).await.unwrap();
    let unknown = unknown.await.unwrap().sequence;
    let known = publish(&stack, "call.status", "CA", 1, json!({})).await;
    until_equal("requests", vec![known.clone()], async || receiver.ids()).await;
    until_delivery(&stack, &endpoint, &known, |record| record["state"] == "delivered").await;
    let name = format!("endpoint-{endpoint}");
    until_equal("the last message before one that waits", Some((unknown - 1, 1)), async || {
        let mut consumer: PullConsumer =
            stack.jetstream.get_consumer_from_stream(&name, streams::CALLS).await.ok()?;
        let info = consumer.info().await.ok()?;
        Some((info.ack_floor.stream_sequence, info.num_ack_pending))
    })
    .await;
}
