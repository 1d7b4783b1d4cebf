//! One call: its ids, its version, and what it includes.

use aftercall_local::simulator::Options;
use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use super::{CALLS, FIRST, call, get, send};
use crate::{harness::TestStack, placement::place};

#[tokio::test]
async fn a_call_is_found_by_each_of_its_ids() {
    let stack = TestStack::start().await;
    let ids = doc! { "conversationId": "conv_1", "_placementId": "0af1" };
    stack.calls.insert_one(call("sip/a@b+c%d", 0, ids)).await.unwrap();
    for id in ["conv_1", "0af1", "sip%2Fa%40b%2Bc%25d", "sip%2Fa@b+c%25d"] {
        let answer = get(&stack, &format!("{CALLS}/{id}")).await;
        assert_eq!((answer.status, &answer.json()["callId"]), (200, &json!("sip/a@b+c%d")), "{id}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
    }
    let document = stack.calls.find_one(doc! {}).await.unwrap().unwrap();
    let internal = document.get_object_id("_id").unwrap().to_hex();
    for id in ["conv_2", &internal, "%24ne", "%00", "%ff%fe", &"x".repeat(2000), "a%20b"] {
        let answer = get(&stack, &format!("{CALLS}/{id}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{id}");
    }
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let stack = TestStack::start().await;
    stack.calls.insert_one(call("c", 0, doc! {})).await.unwrap();
    let path = format!("{CALLS}/c");
    let first = get(&stack, &path).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(tag, format!("\"{FIRST}\""));
    for (known, status) in [(tag.as_str(), 304), ("*", 304), ("\"1\"", 200)] {
        let again = send(&stack, Method::GET, &path, &[("if-none-match", known)]).await;
        assert_eq!((again.status, again.header("etag")), (status, tag.as_str()), "{known}");
        assert_eq!(again.bytes.is_empty(), status == 304, "{known}");
    }
    stack.calls.update_one(doc! { "callId": "c" }, doc! { "$set": { "revision": FIRST + 5 } }).await.unwrap();
    let changed = send(&stack, Method::GET, &path, &[("if-none-match", &tag)]).await;
    assert_eq!((changed.status, changed.header("etag")), (200, format!("\"{}\"", FIRST + 5).as_str()));
    let head = send(&stack, Method::HEAD, &path, &[]).await;
    assert_eq!((head.status, head.bytes.len(), head.header("etag")), (200, 0, changed.header("etag")));
    assert_eq!(head.header("content-length"), changed.bytes.len().to_string());
}

#[tokio::test]
async fn a_call_without_a_version_has_no_tag() {
    let stack = TestStack::start().await;
    stack.calls.insert_one(call("c", 0, doc! { "revision": null })).await.unwrap();
    let answer = send(&stack, Method::GET, &format!("{CALLS}/c"), &[("if-none-match", "\"1\"")]).await;
    assert_eq!((answer.status, answer.header("etag")), (200, ""));
}

#[tokio::test]
async fn large_parts_are_included_on_request_and_omitted_if_they_do_not_fit() {
    let stack = TestStack::start().await;
    let fields = doc! {
        "rawResponse": { "text": "x".repeat(1_500_000) }, "history": [{ "eventId": "e" }],
        "transcript": [{ "role": "user", "message": "hello" }],
    };
    stack.calls.insert_one(call("c", 0, fields)).await.unwrap();
    let plain = get(&stack, &format!("{CALLS}/c")).await.json();
    assert!(["rawResponse", "history", "transcript", "omitted"].iter().all(|part| plain.get(part).is_none()));
    let all = get(&stack, &format!("{CALLS}/c?include=transcript,payload,history")).await.json();
    assert_eq!(all["omitted"], json!(["rawResponse"]));
    assert_eq!(
        (&all["history"], all["transcript"].as_array().unwrap().len()),
        (&json!([{ "eventId": "e" }]), 1)
    );
}

#[tokio::test]
async fn other_conversations_of_the_call_are_named() {
    let stack = TestStack::start().await;
    for conversation in ["v1", "v2"] {
        let body =
            json!({ "event_type": "call.answered", "call_id": "CA1", "conversation_id": conversation });
        stack.webhook(&body).await;
        stack.document(doc! { "conversationId": conversation }).await;
    }
    stack.document(doc! { "conversationId": "v1", "sharedCallId": "CA1" }).await;
    let answer = get(&stack, &format!("{CALLS}/v2")).await.json();
    assert_eq!(
        (&answer["callId"], &answer["otherConversations"]),
        (&json!("CA1"), &json!(["v1"])),
        "{answer}"
    );
}

#[tokio::test]
async fn a_placed_call_is_at_its_location_and_a_repeated_answer_is_marked() {
    let stack = TestStack::builder().simulator(Options::default()).start().await;
    let order = json!({ "agentId": "a", "agentPhoneNumberId": "p", "toNumber": "+15005550000" });
    let request = || stack.http.post(format!("{}{CALLS}", stack.base)).body(order.to_string());
    for replayed in [None, Some("true")] {
        let request = request().header("idempotency-key", "k").header("content-type", "application/json");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let location = header("location").unwrap();
        assert_eq!(header("idempotent-replayed").as_deref(), replayed);
        let placed: Value = answer.json().await.unwrap();
        assert_eq!(location, format!("{CALLS}/{}", placed["placementId"].as_str().unwrap()));
        let read = get(&stack, &location).await;
        assert_eq!((read.status, &read.json()["placementId"]), (200, &placed["placementId"]));
    }
}

#[tokio::test]
async fn misspelt_fields_are_refused_with_the_nearest_name() {
    let stack = TestStack::start().await;
    let order = json!({ "agent_id": "a", "agentPhoneNumberId": "p", "toNumber": "+15005550000" });
    let placed = place(&stack, &order, None).await;
    let lookup = stack.lookup(json!({ "conversationId": "v" })).await;
    for (answer, suggested) in [(placed, "agentId"), (lookup, "conversation_id")] {
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.ends_with(&format!("did you mean \"{suggested}\"?")), "{detail}");
    }
    assert_eq!(stack.simulator.dialled().len(), 0);
    stack.calls.insert_one(call("c", 0, doc! {})).await.unwrap();
    let found = stack.lookup(json!({ "callId": "c" })).await;
    assert_eq!((found.status, &found.body["callId"]), (200, &json!("c")), "{}", found.body);
}
