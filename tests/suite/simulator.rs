//! The simulated ElevenLabs API, checked with the official SDK, and its calls.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_local::simulator::{Options, Outcome, Twilio};
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::harness::{TestStack, python, until, until_equal};

const SECRET: &str = "wsec_simulated";

/// Options of a simulator that also sends the callbacks of Twilio.
fn with_twilio() -> Options {
    let twilio = Twilio { url: String::new(), auth_token: None, public_url: None };
    Options { pace: Duration::from_millis(20), twilio: Some(twilio), ..Options::default() }
}

/// Places a call at the simulated API, without Aftercall.
pub async fn dial(stack: &TestStack, number: &str) {
    let url = format!("{}/v1/convai/twilio/outbound-call", stack.simulator.base_url());
    let order = json!({ "agent_id": "agent_1", "agent_phone_number_id": "phnum_1", "to_number": number });
    let answer = stack.http.post(url).header("xi-api-key", "simulated").body(order.to_string()).send().await;
    assert!(answer.unwrap().status().is_success());
}

#[tokio::test]
async fn simulator_is_compatible_with_the_official_sdk() {
    let stack = TestStack::builder()
        .without_worker()
        .simulator(with_twilio())
        .gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET)
        .start()
        .await;
    let client = include_str!("python/client.py");
    let calls = python::run(client, &[&stack.simulator.base_url()], b"").await;
    assert_eq!(calls.lines().count(), 13);
    until("every simulated call is reported", async || stack.simulator.settled().then_some(())).await;

    let mut lines = Vec::new();
    for sequence in 1..=stack.stored(streams::WEBHOOKS).await {
        let message = stack.message(streams::WEBHOOKS, sequence).await;
        if message.subject.as_str() != streams::subject::ELEVENLABS_CALL_STATUS {
            continue;
        }
        let body = String::from_utf8(message.payload.to_vec()).unwrap();
        let signature = message.headers.get(streams::header::ELEVENLABS_SIGNATURE).unwrap().to_string();
        lines.push(json!([body, signature, SECRET]).to_string());
    }
    let kinds = python::run(include_str!("python/webhooks.py"), &[], lines.join("\n").as_bytes()).await;
    let count = |kind: &str| kinds.lines().filter(|line| *line == kind).count();
    assert_eq!(
        count("post_call_transcription"),
        7,
        "answered, voicemail and failed by two carriers, one in a batch"
    );
    assert_eq!((count("post_call_audio"), count("call_initiation_failure")), (5, 6));
}

/// The possible statuses of a call that ElevenLabs and Twilio have reported.
fn status(outcome: Outcome) -> &'static [&'static str] {
    match outcome {
        Outcome::Answered | Outcome::Voicemail => &["ended"],
        Outcome::ConversationFailed => &["failed"],
        // ElevenLabs and Twilio report different statuses. The later one counts.
        Outcome::Busy => &["busy", "initiation_failed"],
        Outcome::NoAnswer => &["no_answer", "initiation_failed"],
        Outcome::Failed => &["failed", "initiation_failed"],
    }
}

#[tokio::test]
async fn simulated_calls_are_recorded_from_ringing_to_recording() {
    let stack = TestStack::builder().simulator(with_twilio()).start().await;
    for n in 0..40 {
        dial(&stack, &format!("+150055520{:02}", n % 20)).await;
    }
    until("every simulated call is reported", async || stack.simulator.settled().then_some(())).await;
    stack.all_acknowledged().await;
    for truth in stack.simulator.truth() {
        let call = stack.document(doc! { "callId": &truth.call_sid }).await;
        assert!(status(truth.outcome).contains(&call.get_str("status").unwrap()), "{truth:?} {call}");
        assert_eq!(call.get_str("conversationId").unwrap(), truth.conversation_id);
        assert_eq!(call.get_str("toNumber").unwrap(), truth.to_number);
        assert_eq!(call.get_str("answeredBy").is_ok(), truth.outcome == Outcome::Voicemail);
        if matches!(truth.outcome, Outcome::Answered | Outcome::Voicemail) {
            assert_eq!(call.get_str("transcriptState").unwrap(), "saved");
            assert!(call.get_document("audio").is_ok(), "{call}");
        }
    }
    until_equal("documents", 40, async || stack.calls.count_documents(Document::new()).await.unwrap()).await;
}
