//! Endpoints: events and webhooks are posted to the operator's systems, over HTTP, to real receivers.

mod addresses;
mod attempts;
mod away;
mod commands;
mod faults;
mod libraries;
mod raw;
pub mod receiver;

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use serde_json::{Value, json};

use self::receiver::{Answer, Receiver};
use crate::harness::{TestStack, until};

/// A stack whose worker delivers only, also to receivers on this machine.
async fn stack() -> TestStack {
    let setup = TestStack::builder().worker_env("ROLES", "deliver");
    setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true").start().await
}

/// Runs a command. Panics if it fails. Returns its output as JSON, one value for each line.
async fn json_lines(stack: &TestStack, args: &[&str]) -> Vec<Value> {
    let (code, said, stderr) = stack.command(args, &[]).await;
    assert_eq!(code, Some(0), "{args:?}: {said}{stderr}");
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line))).collect()
}

/// Adds an endpoint. Returns its id and its secret.
pub async fn add(stack: &TestStack, url: &str, options: &[&str]) -> (String, String) {
    let added = json_lines(stack, &[&["endpoints", "add", url, "--json"], options].concat()).await;
    let text = |name: &str| added[0][name].as_str().unwrap_or_default().to_owned();
    (text("id"), text("secret"))
}

/// Publishes an event about a call to `CALLS`, as the worker does. Returns its message id.
pub async fn publish(stack: &TestStack, event: &str, call: &str, revision: u64, more: Value) -> String {
    let mut data = json!({ "callId": call, "status": "busy", "revision": revision });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = format!("{call}:{revision}:{event}");
    let body = json!({ "type": event, "timestamp": "2026-11-29T10:00:00.000Z", "data": data });
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.as_str());
    let subject = event.replace("call.", "calls.");
    let published = stack.jetstream.publish_with_headers(subject, headers, body.to_string().into()).await;
    published.unwrap().await.unwrap();
    id
}

/// Waits until the record of a message for an endpoint matches, and returns it.
async fn until_delivery(
    stack: &TestStack,
    endpoint: &str,
    message: &str,
    matches: impl Fn(&Value) -> bool,
) -> Value {
    let id = format!("{endpoint}:{message}");
    until(&format!("the record of {id}"), async || {
        let (code, said, _) = stack.command(&["deliveries", "show", &id, "--json"], &[]).await;
        let record = (code == Some(0)).then(|| serde_json::from_str::<Value>(&said).unwrap())?;
        matches(&record).then_some(record)
    })
    .await
}
