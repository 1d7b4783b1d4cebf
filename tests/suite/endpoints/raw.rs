//! Raw endpoints: accepted webhooks are forwarded byte for byte, with the provider's signature.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use aftercall_local::{nats, process::Signal};
use mongodb::bson::doc;
use serde_json::json;

use super::{Answer, Receiver, add, json_lines, publish};
use crate::harness::{SECRET, TWILIO_CALL_STATUS, TestStack, post_signed, scaled, until_equal, within_more};
use crate::registration::{bind_workspace, create_foreign, register};

/// A stack with both providers, whose webhooks must be signed.
async fn stack() -> TestStack {
    let setup = TestStack::builder().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let setup = setup.worker_env("ROLES", "status,deliver").worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    setup.start().await
}

#[tokio::test]
async fn webhooks_are_forwarded_byte_for_byte_with_the_signature_of_the_provider() {
    let stack = stack().await;
    let receiver = Receiver::start(|n| Answer::status(if n == 0 { 500 } else { 200 })).await;
    add(&stack, &receiver.url("/n8n"), &["--kind", "raw", "--types", "elevenlabs"]).await;
    // Spaces, an order of fields, a number and an escape that a JSON library would write otherwise.
    let body =
        "{ \"event_type\":\"call.busy\",\r\n \"call_id\" : \"CA1\", \"n\": 1.50e0, \"t\": \"\\u00e9\" }\n";
    assert_eq!(post_signed(&stack, SECRET, body).await, 200);
    // The first attempt fails, and the second one brings the same bytes.
    until_equal("requests", 2, async || receiver.received().len()).await;
    for request in receiver.received() {
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.header("content-type"), "application/json");
        let signature = request.header("elevenlabs-signature");
        let time = signature.trim_start_matches("t=").split(',').next().unwrap();
        assert_eq!(signature, signed_at(body, time), "the receiver checks it with ElevenLabs' secret");
        for name in request.headers.keys() {
            assert!(!name.as_str().starts_with("aftercall-") && name != "webhook-signature", "{name}");
        }
    }
    assert_eq!(receiver.ids()[0], receiver.ids()[1]);
    // Neither events about calls nor webhooks of other providers.
    publish(&stack, "call.status", "CA9", 1, json!({})).await;
    stack.twilio("CallSid=CA2&CallStatus=busy").await;
    assert_eq!(post_signed(&stack, SECRET, &body.replace("CA1", "CA3")).await, 200);
    until_equal("requests", 3, async || receiver.received().len()).await;
    assert!(receiver.received()[2].body.windows(3).any(|bytes| bytes == b"CA3"));
}

/// The signature that ElevenLabs makes at `time`.
fn signed_at(body: &str, time: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    format!("t={time},v0={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_raw_endpoint_without_types_gets_all_providers_and_large_bodies() {
    let stack = stack().await;
    let receiver = Receiver::accepting().await;
    add(&stack, &receiver.url("/"), &["--kind", "raw"]).await;
    let form = "CallSid=CA2&CallStatus=busy";
    stack.twilio(form).await;
    until_equal("requests", 1, async || receiver.received().len()).await;
    let request = &receiver.received()[0];
    assert_eq!(request.body, form.as_bytes());
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let url = format!("{}{TWILIO_CALL_STATUS}", stack.base);
    assert_eq!(request.header("x-twilio-signature"), crate::harness::twilio_signature(&url, form));
    // The object store holds this body.
    let body = json!({ "event_type": "call.ended", "call_id": "CA3", "padding": "x".repeat(3_000_000) });
    let body = body.to_string();
    assert_eq!(post_signed(&stack, SECRET, &body).await, 200);
    until_equal("requests", 2, async || receiver.received().len()).await;
    assert_eq!(receiver.received()[1].body, body.as_bytes());
}

#[tokio::test]
async fn a_large_body_that_waits_for_others_is_sent_once() {
    const BODIES: usize = 4;
    // One body at a time: the last one waits for longer than the broker waits for an acknowledgement, a minute. The
    // worker waits 21 s for the answer to a request of 6.5 MB.
    let slow = Answer { delay: Duration::from_secs(16), ..Answer::status(200) };
    let stack = stack().await;
    let receiver = Receiver::start(move |_| slow.clone()).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &["--kind", "raw"]).await;
    for n in 0..BODIES {
        let call = format!("CA{n}");
        let body = json!({ "event_type": "call.ended", "call_id": call, "padding": "x".repeat(6_500_000) });
        assert_eq!(post_signed(&stack, SECRET, &body.to_string()).await, 200);
    }
    let listed = ["deliveries", "list", "--endpoint", &endpoint, "--state", "delivered", "--json"];
    let delivered = async {
        while json_lines(&stack, &listed).await.len() < BODIES {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    within_more("all bodies", Duration::from_mins(1), delivered).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.ids().len(), BODIES, "none was sent twice");
}

#[tokio::test]
async fn a_message_larger_than_a_pull_is_forwarded_and_replayed() {
    // An operator may raise the limit of the broker. Then a large body stays in its message.
    let options = nats::Options { extra: "max_payload: 24MB".to_owned(), ..nats::Options::default() };
    let setup = TestStack::builder().nats(options).gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let setup = setup.worker_env("ROLES", "status,deliver").worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let stack = setup.start().await;
    let receiver = Receiver::accepting().await;
    add(&stack, &receiver.url("/"), &["--kind", "raw"]).await;
    let body = json!({ "event_type": "call.busy", "call_id": "CA1", "padding": "x".repeat(18_000_000) });
    let body = body.to_string();
    assert_eq!(post_signed(&stack, SECRET, &body).await, 200);
    assert_eq!(stack.message(streams::WEBHOOKS, 1).await.payload.len(), body.len());
    stack.until_call("CA1", doc! { "status": "busy" }).await;
    until_equal("requests", 1, async || receiver.received().len()).await;
    assert_eq!(receiver.received()[0].body.len(), body.len());
    let (code, said, stderr) = stack.command(&["replay"], &[]).await;
    assert_eq!((code, said.as_str()), (Some(0), "1 webhooks applied, 0 unreadable\n"), "{stderr}");
}

#[tokio::test]
async fn without_mongodb_webhooks_are_forwarded_once_and_without_delay() {
    const WEBHOOKS: usize = 100;
    let setup = TestStack::builder().own_mongod().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let setup = setup.worker_env("ROLES", "deliver").worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let mut stack = setup.start().await;
    let receiver = Receiver::accepting().await;
    add(&stack, &receiver.url("/"), &["--kind", "raw"]).await;
    let post = async |stack: &TestStack, n: usize| {
        let body = json!({ "event_type": "call.busy", "call_id": format!("CA{n}") }).to_string();
        assert_eq!(post_signed(stack, SECRET, &body).await, 200);
    };
    post(&stack, 0).await;
    until_equal("requests", 1, async || receiver.ids().len()).await;
    // Frozen, it answers nothing, and each record waits for 20 s.
    stack.mongo.process().process().signal(Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    for n in 1..=WEBHOOKS {
        post(&stack, n).await;
    }
    until_equal("requests", WEBHOOKS + 1, async || receiver.ids().len()).await;
    let took = started.elapsed();
    assert!(took < scaled(Duration::from_secs(10)), "MongoDB delayed the webhooks: {took:?}");
    // A worker that stops leaves no message unacknowledged, and waits for MongoDB for two seconds only.
    let stopping = Instant::now();
    stack.workers[0].signal(Signal::SIGTERM);
    stack.workers[0].ended().await;
    let took = stopping.elapsed();
    // Not scaled: the time is spent by waits.
    assert!(took < Duration::from_secs(9), "the worker waited for MongoDB: {took:?}");
    stack.mongo.process().process().signal(Signal::SIGCONT).unwrap();
    stack.add_worker().await;
    post(&stack, WEBHOOKS + 1).await;
    until_equal("requests", WEBHOOKS + 2, async || receiver.ids().len()).await;
    let ids: BTreeSet<_> = receiver.ids().into_iter().collect();
    assert_eq!(ids.len(), WEBHOOKS + 2, "none was sent twice");
}

#[tokio::test]
async fn register_forwards_to_the_webhook_that_it_displaces() {
    let stack = TestStack::builder().without_worker().start().await;
    let foreign = create_foreign(&stack).await;
    bind_workspace(&stack, &foreign).await;
    let (code, _, stderr) = register(&stack, &["--forward-displaced"]).await;
    assert!(code == Some(2) && stderr.contains("--replace"), "{stderr}");
    let (code, _, stderr) = register(&stack, &[]).await;
    assert!(code == Some(1) && stderr.contains("--replace --forward-displaced"), "{stderr}");
    assert_eq!(json_lines(&stack, &["endpoints", "list", "--json"]).await.len(), 0);
    let (code, shown, stderr) = register(&stack, &["--replace", "--forward-displaced"]).await;
    assert!(code == Some(0) && shown.contains("forwards all webhooks to it"), "{shown}{stderr}");
    let listed = json_lines(&stack, &["endpoints", "list", "--json"]).await;
    let endpoint = &listed[0];
    assert_eq!((&endpoint["kind"], &endpoint["url"]), (&json!("raw"), &json!("https://crm.example.com/…")));
    assert_eq!(endpoint["types"], json!(["elevenlabs"]));
    assert!(!shown.contains("t0ken"), "{shown}");
}
