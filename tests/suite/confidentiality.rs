//! Bodies, transcripts, telephone numbers and secrets are only in the stream and in the database.

use aftercall_common::contract::streams;
use aftercall_local::simulator::Answer;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{CALL_STATUS, LOOKUP, TWILIO_CALL_STATUS, TestStack, until_equal};

/// A text in every field of every request, which must not appear elsewhere.
const MARK: &str = "mark-5e3c1d";
const NUMBER: &str = "+15557654321";
/// A number that a dialler uses as the id of its call.
const CALL_ID: &str = "+15551112233";
const SECRET: &str = "wsec_5e3c1d5e3c1d";

#[tokio::test]
async fn logs_metrics_and_refusals_repeat_nothing_of_a_request() {
    // All log messages of the crates.
    let own = "aftercall_common=trace,aftercall_ingest=trace,aftercall_worker=trace";
    let mut stack = TestStack::builder()
        .own_mongod()
        .gateway_env("RUST_LOG", own)
        .gateway_env("TWILIO_AUTH_TOKEN", SECRET)
        .gateway_env("PUBLIC_URL", "https://aftercall.example")
        .gateway_env("API_TOKEN", SECRET)
        .worker_env("RUST_LOG", own)
        .start()
        .await;
    let mut texts = Vec::new();
    let call = |event: &str, conversation: &str| {
        json!({ "event_type": event, "call_id": CALL_ID, "conversation_id": conversation, "to_number": NUMBER,
            "failure_reason": MARK, "message": MARK, "transcript": [{ "role": "user", "message": MARK }] })
    };
    stack.webhook(&call("call.completed", "v")).await;
    stack.webhook(&call("call.busy", "v")).await;
    // A second conversation of the call, which needs a transaction. A lookup asks the API about it.
    stack.webhook(&call("call.completed", "v2")).await;
    until_equal("the second conversation", 1, async || stack.count(doc! { "conversationId": "v2" }).await)
        .await;
    stack.post_to(LOOKUP, json!({ "callSid": CALL_ID, "conversation_id": "v2" }).to_string()).await;
    // Webhooks that become dead letters, refused requests, and failed requests to the API.
    stack.simulator.script("w", [Answer::Status(422)]);
    stack
        .webhook(
            &json!({ "event_type": "call.completed", "call_id": "d", "conversation_id": "w", "x": MARK }),
        )
        .await;
    stack.webhook(&json!({ "event_type": "call.busy", "x": MARK })).await;
    stack.webhook(&json!({ "event_type": "call.busy", "conversation_id": format!("../{MARK}") })).await;
    stack.webhook(&json!({ "event_type": "call.busy", "conversation_id": { "$gt": MARK } })).await;
    let subject = streams::subject::ELEVENLABS_CALL_STATUS;
    stack.jetstream.publish(subject, format!("{{ {MARK}").into()).await.unwrap().await.unwrap();
    for body in [format!("{{\"a\": {MARK}"), format!("[\"{MARK}\"]"), MARK.to_owned()] {
        texts.push(stack.post_to(CALL_STATUS, body).await.body.to_string());
    }
    texts.push(
        stack.post_to(TWILIO_CALL_STATUS, format!("CallSid={MARK}&To={NUMBER}")).await.body.to_string(),
    );
    texts.push(stack.post_to(LOOKUP, json!({ "callSid": MARK }).to_string()).await.body.to_string());
    let order = json!({ "agentId": MARK, "agentPhoneNumberId": MARK, "toNumber": NUMBER });
    texts.push(stack.post_to("/api/agent-calls", order.to_string()).await.body.to_string());
    // Without a database every write fails, and the log names the cause.
    stack.mongo.process().kill().await.unwrap();
    stack.webhook(&call("call.rejected", "v")).await;
    stack.workers[0].until_unready(&stack.http).await;
    stack.mongo.process().restart().await.unwrap();
    let rejected = doc! { "conversationId": "v", "status": "rejected" };
    until_equal("the rejected call", 1, async || stack.count(rejected.clone()).await).await;
    until_equal("dead letters", 4, async || stack.stored(streams::DEAD_LETTERS).await).await;
    stack.all_acknowledged().await;

    texts.extend([stack.gateway.log(), stack.workers[0].log()]);
    texts.extend([stack.gateway.metrics(&stack.http).await, stack.workers[0].metrics(&stack.http).await]);
    for text in texts {
        for secret in [MARK, NUMBER, SECRET, "5557654321", "5551112233"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret}: {line:?}");
        }
    }
}
