//! Attempts: what follows from each answer, and that one endpoint's trouble delays no other.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{Answer, Receiver, add, json_lines, publish, stack, until_delivery};
use crate::harness::{scaled, until, until_equal};

#[tokio::test]
async fn failed_attempts_are_repeated_with_the_same_id_and_a_new_timestamp() {
    let stack = stack().await;
    // A server error first, then nobody listens, then the receiver is back.
    let receiver = Receiver::start(|n| match n {
        0 => Answer::status(500).saying("out of +15005550001 order"),
        _ => Answer::status(204),
    })
    .await;
    let (endpoint, _) = add(&stack, &receiver.url("/hook"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |record| record["state"] == "waiting").await;
    assert_eq!(record["attempts"][0]["status"], 500);
    // A number in the answer is masked.
    let answer = record["attempts"][0]["answer"].as_str().unwrap();
    assert!(answer.starts_with("out of +15") && !answer.contains("15005550001"), "{answer}");
    assert!(record["nextAttemptAt"].is_string());
    let record = until_delivery(&stack, &endpoint, &id, |record| record["state"] == "delivered").await;
    assert_eq!((&record["attemptCount"], &record["attempts"][1]["status"]), (&json!(2), &json!(204)));
    assert_eq!(record["type"], "call.status");
    assert_eq!(record["callId"], "CA1");
    assert!(record.get("nextAttemptAt").is_none());

    let requests = receiver.received();
    assert_eq!(receiver.ids(), [id.as_str(), id.as_str()]);
    assert_eq!(requests[0].body, requests[1].body);
    let time = |n: usize| requests[n].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(time(1) >= time(0) + 4, "the second attempt comes after about five seconds");
    assert_ne!(requests[0].header("webhook-signature"), requests[1].header("webhook-signature"));
}

#[tokio::test]
async fn a_receiver_that_does_not_listen_gets_its_event_when_it_is_back() {
    let stack = stack().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (endpoint, _) = add(&stack, &format!("http://{address}/hook"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |record| record["state"] == "waiting").await;
    assert_eq!(record["attempts"][0]["error"], "not_connected");
    let receiver = Receiver::on(TcpListener::bind(address).await.unwrap(), |_| Answer::status(200));
    until_delivery(&stack, &endpoint, &id, |record| record["state"] == "delivered").await;
    assert_eq!(receiver.ids(), [id]);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let stack = stack().await;
    let answer = |n| if n == 0 { Answer::status(503).with("retry-after", "9") } else { Answer::status(200) };
    let receiver = Receiver::start(answer).await;
    add(&stack, &receiver.url("/"), &[]).await;
    publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until("the second attempt", async || (receiver.received().len() == 2).then_some(())).await;
    let requests = receiver.received();
    let pause = requests[1].at - requests[0].at;
    assert!(pause >= Duration::from_millis(8_500), "{pause:?}");
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_resume_delivers_what_waited() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(410)).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let first = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &first, |_| true).await;
    assert_eq!((&record["state"], &record["attemptCount"]), (&json!("waiting"), &json!(1)));
    let state = async || {
        let listed = json_lines(&stack, &["endpoints", "list", "--json"]).await;
        (listed[0]["state"].clone(), listed[0]["reason"].clone())
    };
    until_equal("the endpoint is disabled", (json!("disabled"), json!("gone")), state).await;
    let second = publish(&stack, "call.status", "CA2", 1, json!({})).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // Longer than the interval at which endpoints are read.
    assert_eq!(receiver.ids(), [first.as_str()]);
    receiver.answer(|_| Answer::status(200));
    json_lines(&stack, &["endpoints", "resume", &endpoint]).await;
    for message in [first, second] {
        until_delivery(&stack, &endpoint, &message, |record| record["state"] == "delivered").await;
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_no_other() {
    const EVENTS: usize = 100;
    let stack = stack().await;
    let hanging = Receiver::start(|_| Answer::never()).await;
    let healthy = Receiver::accepting().await;
    let (slow, _) = add(&stack, &hanging.url("/"), &[]).await;
    add(&stack, &healthy.url("/"), &[]).await;
    let first = publish(&stack, "call.status", "CA0", 1, json!({})).await;
    until("both endpoints are served", async || {
        (!hanging.ids().is_empty() && !healthy.ids().is_empty()).then_some(())
    })
    .await;
    let started = Instant::now();
    for n in 1..=EVENTS {
        publish(&stack, "call.status", &format!("CA{n}"), 1, json!({})).await;
    }
    until_equal("delivered", EVENTS + 1, async || healthy.ids().len()).await;
    let took = started.elapsed();
    assert!(took < scaled(Duration::from_secs(10)), "the hanging endpoint delayed the other: {took:?}");
    assert!(hanging.ids().len() <= 24, "requests at the same time are bounded: {}", hanging.ids().len());
    let record = until_delivery(&stack, &slow, &first, |record| record["state"] == "waiting").await;
    assert_eq!(record["attempts"][0]["error"], "timed_out");
    assert!(record["attempts"][0]["durationMs"].as_u64().unwrap() >= 14_000);
}

#[tokio::test]
async fn answers_are_read_within_bounds() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(400).saying(&"x".repeat(4 << 20))).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    let record = until_delivery(&stack, &endpoint, &id, |_| true).await;
    assert_eq!(record["attempts"][0]["answer"].as_str().unwrap().len(), 1024);
    // An answer that never ends: the worker closes the connection, and does not read until its deadline of 15 s.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    add(&stack, &url, &["--since", "1h"]).await;
    let (mut socket, _) = listener.accept().await.unwrap();
    let started = Instant::now();
    socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 900000000\r\n\r\n").await.unwrap();
    let mut written = 0;
    while written < 64 << 20 && socket.write_all(&[b'x'; 16 * 1024]).await.is_ok() {
        written += 16 * 1024;
    }
    assert!(written < 64 << 20, "everything was read");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn an_erased_event_is_not_sent_again() {
    let stack = stack().await;
    let receiver = Receiver::start(|_| Answer::status(500)).await;
    let (endpoint, _) = add(&stack, &receiver.url("/"), &[]).await;
    let id = publish(&stack, "call.status", "CA1", 1, json!({})).await;
    until_delivery(&stack, &endpoint, &id, |record| record["state"] == "waiting").await;
    let stream = stack.jetstream.get_stream("CALLS").await.unwrap();
    stream.delete_message(1).await.unwrap();
    let record = until_delivery(&stack, &endpoint, &id, |record| record["state"] == "failed").await;
    assert_eq!(record["attempts"][1]["error"], "message_gone");
    assert_eq!(receiver.ids().len(), 1);
}
