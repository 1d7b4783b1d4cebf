//! The receivers in Python and in JavaScript.

use std::time::Duration;

use serde_json::json;

use super::{Receiver, call};
use crate::harness::until;

async fn receives_what_is_signed(name: &str) {
    let receiver = Receiver::start(name, &[]).await;
    assert_eq!(receiver.event("call.status", &call("answered")).await, 204, "{}", receiver.log());
    assert_eq!(receiver.event("call.erased", &json!({ "revision": 1, "note": "\u{2713} ü" })).await, 204);
    until("the first event is printed", async || {
        receiver.log().contains("call.status CA0123456789abcdef0123456789abcdef ended").then_some(())
    })
    .await;
    let body = r#"{"type":"call.status","data":{"callId":"forged"}}"#;
    for (what, signed, age) in [
        ("another body", r#"{"type":"call.status","data":{"callId":"own"}}"#, 0),
        ("an old signature", body, 3600),
    ] {
        assert_eq!(receiver.post(body, signed, Duration::from_secs(age)).await, 401, "{what}");
    }
    let unsigned = receiver.http.post(&receiver.url).body(body);
    assert_eq!(unsigned.send().await.unwrap().status(), 401, "no signature");
    for signature in ["v1", "v1,not base64", "", ","] {
        let request = receiver.http.post(&receiver.url).body(body).header("webhook-id", "msg_1");
        let request = request.header("webhook-timestamp", jiff::Timestamp::now().as_second().to_string());
        let answer = request.header("webhook-signature", signature).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{signature:?}");
    }
    assert!(!receiver.log().contains("forged"), "{}", receiver.log());
}

#[tokio::test]
async fn python_receiver_takes_what_is_signed() {
    receives_what_is_signed("receiver.py").await;
}

#[tokio::test]
async fn node_receiver_takes_what_is_signed() {
    receives_what_is_signed("receiver.mjs").await;
}
