//! Raw endpoints: accepted webhooks are forwarded byte for byte, with the provider's signature.

use serde_json::json;

use super::{Answer, Receiver, add, json_lines, publish};
use crate::harness::{SECRET, TWILIO_CALL_STATUS, TestStack, post_signed, until_equal};
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
