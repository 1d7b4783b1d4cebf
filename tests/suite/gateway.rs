//! The gateway: stored and refused requests, start and stop.

use aftercall_common::contract::streams;
use aftercall_local::process::Signal;
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{CALL_STATUS, LOOKUP, Service, TWILIO_CALL_STATUS, TestStack, until, within};

fn busy(call_id: &str) -> Value {
    json!({ "event_type": "call.busy", "call_id": call_id })
}

/// A stack without a worker.
async fn alone() -> TestStack {
    TestStack::builder().without_worker().start().await
}

#[tokio::test]
async fn body_is_stored_unchanged_with_its_metadata() {
    let stack = alone().await;
    let body = "{ \"call_id\" : \"ünï\",\n \"event_type\":\"call.busy\" }";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = stack.http.post(format!("{}{CALL_STATUS}?attempt=2", stack.base)).body(body);
    let answer = stack.send(request.header("traceparent", trace)).await;
    let id = hex::encode(Sha256::digest(format!("{CALL_STATUS}\n{body}")));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({ "accepted": true, "id": id, "sequence": 1, "duplicate": false }));

    let message = stack.message(streams::WEBHOOKS, 1).await;
    let header = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
    assert_eq!(message.payload, body.as_bytes());
    assert_eq!(message.subject.as_str(), streams::subject::ELEVENLABS_CALL_STATUS);
    assert_eq!(header("Nats-Msg-Id"), id);
    assert_eq!(header("Content-Type"), "application/json");
    assert_eq!(header(streams::header::SOURCE_IP), "127.0.0.1");
    assert_eq!(header(streams::header::SIGNATURE), "absent");
    assert_eq!(header(streams::header::TRACEPARENT), trace);
    header(streams::header::RECEIVED_AT).parse::<jiff::Timestamp>().unwrap();
}

#[tokio::test]
async fn concurrent_duplicates_are_stored_once_each() {
    let stack = alone().await;
    // Three equal bodies at the same time: the first one is stored, the others are its duplicates.
    let posts = (0..600).map(|n| stack.post_to(CALL_STATUS, busy(&format!("c{}", n / 3)).to_string()));
    let answers = join_all(posts).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let first = answers.iter().filter(|answer| answer.body["duplicate"] == false).count();
    assert_eq!((first, stack.stored(streams::WEBHOOKS).await), (200, 200));
    for three in answers.chunks(3) {
        assert!(three.iter().all(|answer| answer.body["sequence"] == three[0].body["sequence"]), "{three:?}");
        let sequence = three[0].body["sequence"].as_u64().unwrap();
        let message = stack.message(streams::WEBHOOKS, sequence).await;
        assert_eq!(
            message.headers.get("Nats-Msg-Id").unwrap().as_str(),
            three[0].body["id"].as_str().unwrap()
        );
    }
}

#[tokio::test]
async fn refused_requests_name_the_reason_and_store_nothing() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("API_TOKEN", "t0ken")
        .gateway_env("API_ANONYMOUS", "none")
        .gateway_env("MAX_BODY_BYTES", "1000")
        .start()
        .await;
    let url = |path: &str| format!("{}{path}", stack.base);
    let good = busy("c").to_string();
    #[rustfmt::skip]
    let table = [
        (stack.http.post(url("/elsewhere")).body(good.clone()),              404, "not_found"),
        (stack.http.get(url(CALL_STATUS)),                                   405, "method_not_allowed"),
        (stack.http.post(url(CALL_STATUS)).body("x".repeat(1001)),           413, "body_too_large"),
        (stack.http.post(url(CALL_STATUS)).body("{\n \"a\": nope }"),        400, "invalid_json"),
        (stack.http.post(url(CALL_STATUS)).body("[{}]"),                     400, "invalid_json"),
        (stack.http.post(url(CALL_STATUS)).body("{}{}"),                     400, "invalid_json"),
        (stack.http.post(url(CALL_STATUS)).body(""),                         400, "invalid_json"),
        (stack.http.post(url(CALL_STATUS)).body(b"{\"a\":\"\xff\"}".to_vec()), 400, "invalid_json"),
        (stack.http.post(url(LOOKUP)).body("{}"),                            401, "unauthorized"),
        (stack.http.post(url(LOOKUP)).bearer_auth("wrong").body("{}"),       401, "unauthorized"),
        (stack.http.post(url("/api/agent-calls")).bearer_auth("t0ken").body("{}"), 503, "no_worker"),
        (stack.http.post(url("/api/agent-calls")).bearer_auth("t0ken").header("idempotency-key", "a b").body("{}"), 400, "invalid_request"),
        (stack.http.put(url(TWILIO_CALL_STATUS)).body("a=b"),                405, "method_not_allowed"),
        (stack.http.post(url(TWILIO_CALL_STATUS)).body("{\"a\": nope}"),      401, "signature_missing"),
    ];
    for (request, status, code) in table {
        let shown = format!("{request:?}");
        let answer = stack.send(request).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{shown}: {}", answer.body);
        assert_eq!(answer.body["status"], status);
    }
    for (path, methods) in [(CALL_STATUS, "POST"), (TWILIO_CALL_STATUS, "GET, POST")] {
        let answer = stack.http.delete(url(path)).send().await.unwrap();
        assert_eq!(answer.headers()["allow"], methods);
    }
    let lookup = stack.http.post(url(LOOKUP)).bearer_auth("t0ken").header("content-type", "text/plain");
    let answer = lookup.body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 415, "a web page can send this content type without a preflight request");
    let answer = stack.http.post(url(CALL_STATUS)).body("{\n \"secret\": nope }").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let text = answer.text().await.unwrap();
    assert!(text.contains("line 2 column") && !text.contains("nope") && !text.contains("secret"), "{text}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
    assert!(!stack.gateway.log().contains("nope"));
}

#[tokio::test]
async fn body_that_does_not_arrive_is_answered_408() {
    let stack = TestStack::builder().without_worker().gateway_env("BODY_TIMEOUT", "200ms").start().await;
    let mut socket = TcpStream::connect(stack.public).await.unwrap();
    let head = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{\"call_id\":");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the gateway closes the connection", socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn chunked_body_above_the_limit_is_answered_413() {
    let stack = TestStack::builder().without_worker().gateway_env("MAX_BODY_BYTES", "1000").start().await;
    let mut socket = TcpStream::connect(stack.public).await.unwrap();
    let head = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(format!("3e8\r\n{}\r\n1\r\nx\r\n", "x".repeat(1000)).as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the gateway closes the connection", socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn bodies_beyond_the_budget_are_answered_503() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("MAX_BODY_BYTES", "65536")
        .gateway_env("MAX_INFLIGHT_BYTES", "65536")
        .gateway_env("BODY_TIMEOUT", "5m")
        .start()
        .await;
    let mut slow = TcpStream::connect(stack.public).await.unwrap();
    let head = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ncontent-length: 65536\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&vec![b'x'; 65_000]).await.unwrap();
    until("the budget is used up", async || {
        let metrics = stack.gateway.metrics(&stack.http).await;
        metrics.contains("aftercall_inflight_body_bytes 65536").then_some(())
    })
    .await;
    let post = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(busy("c").to_string());
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "overloaded");
    drop(slow);
    stack.webhook_until_accepted(&busy("c")).await;
}

#[tokio::test]
async fn signatures_are_required_if_a_secret_is_set() {
    let secrets = ["wsec_old", "wsec_new"];
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("ELEVENLABS_WEBHOOK_SECRET", &secrets.join(","))
        .start()
        .await;
    let now = jiff::Timestamp::now().as_second();
    let sign = |secret: &str, at: i64, body: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.{body}").as_bytes());
        format!("t={at},v0={}", hex::encode(mac.finalize().into_bytes()))
    };
    let body = busy("c").to_string();
    #[rustfmt::skip]
    let table = [
        (None,                                     401, "signature_missing"),
        (Some("t=1".to_owned()),                   401, "signature_invalid"),
        (Some(sign("wsec_other", now, &body)),     401, "signature_invalid"),
        (Some(sign("wsec_new", now, "{}")),        401, "signature_invalid"),
        (Some(sign("wsec_new", now - 7200, &body)), 401, "signature_expired"),
        (Some(sign("wsec_old", now, &body)),       200, ""),
        (Some(sign("wsec_new", now - 1800, &body)), 200, ""),
    ];
    for (signature, status, code) in table {
        let mut request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body.clone());
        if let Some(signature) = &signature {
            request = request.header("ElevenLabs-Signature", signature);
        }
        let answer = stack.send(request).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{signature:?}");
    }
    let message = stack.message(streams::WEBHOOKS, 1).await;
    assert_eq!(message.headers.get(streams::header::SIGNATURE).unwrap().as_str(), "verified");
    assert!(message.headers.get(streams::header::ELEVENLABS_SIGNATURE).is_some());
}

#[tokio::test]
async fn sigterm_finishes_open_requests() {
    let mut stack = alone().await;
    let body = busy("slow").to_string();
    let mut slow = TcpStream::connect(stack.public).await.unwrap();
    let head = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body.as_bytes()[..5]).await.unwrap();
    // A request on another connection is answered, so that the gateway has accepted both connections before
    // the signal.
    stack.webhook(&busy("quick")).await;
    stack.gateway.signal(Signal::SIGTERM);
    until("new connections refused", async || TcpStream::connect(stack.public).await.is_err().then_some(()))
        .await;
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    within("the gateway closes the connection", slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(stack.gateway.ended().await.success());
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2);
}

#[tokio::test]
async fn idle_gateway_and_worker_need_little_memory() {
    let stack = TestStack::start().await;
    stack.webhook(&busy("c")).await;
    stack.all_acknowledged().await;
    let megabytes = |bytes: u64| bytes >> 20;
    // Release binaries need less than 20 and 40 MiB. The tests run debug builds in one executable.
    assert!(megabytes(stack.gateway.resident()) < 40, "gateway: {} MiB", megabytes(stack.gateway.resident()));
    assert!(
        megabytes(stack.workers[0].resident()) < 80,
        "worker: {} MiB",
        megabytes(stack.workers[0].resident())
    );
}

#[tokio::test]
async fn metrics_count_requests_and_events() {
    let stack = TestStack::start().await;
    stack.webhook(&busy("c")).await;
    stack.post_to("/elsewhere", "{}").await;
    stack.all_acknowledged().await;
    let gateway = stack.gateway.metrics(&stack.http).await;
    for line in ["# HELP aftercall_", "not_found", "# EOF"] {
        assert!(gateway.contains(line), "{line} in\n{gateway}");
    }
    let worker = stack.workers[0].metrics(&stack.http).await;
    for line in ["aftercall_events_applied_total{status=\"busy\"} 1", "aftercall_webhook_age_seconds_count 1"]
    {
        assert!(worker.contains(line), "{line} in\n{worker}");
    }
}

#[tokio::test]
async fn invalid_configuration_stops_the_start_with_one_line() {
    #[rustfmt::skip]
    let table = [
        ("gateway", "ALLOWED_SOURCES", "loopback, 300.1.2.3"),
        ("gateway", "API_TOKEN",       ""),
        ("gateway", "PUBLISH_TIMEOUT", "soon"),
        ("gateway", "LISTEN_ADDR",     "8080"),
        ("worker",  "ROLES",           "status,sales"),
        ("worker",  "MONGODB_URI",     "postgres://me:pa55@127.0.0.1"),
        ("worker",  "NATS_URL",        "nats://me:pa55@:notaport"),
    ];
    for (part, variable, value) in table {
        let (status, log) = Service::run_to_exit(part, &[(variable, value)]).await;
        assert_eq!(status, Some(78), "{part} with {variable}: {log}");
        let last = log.lines().last().unwrap();
        assert!(last.contains(variable), "{part} with {variable}: {last}");
        assert!(!last.contains("pa55"), "credentials are not repeated: {last}");
    }
}

#[tokio::test]
async fn stream_that_evicts_messages_stops_the_start() {
    let stack = alone().await;
    let mut config =
        stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone();
    config.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
    config.max_messages = 10;
    stack.jetstream.update_stream(config).await.unwrap();
    for part in ["gateway", "worker"] {
        let vars = [("NATS_URL", stack.nats.url()), ("LISTEN_ADDR", "127.0.0.1:0".to_owned())];
        let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, log) = Service::run_to_exit(part, &vars).await;
        let last = log.lines().last().unwrap();
        assert_eq!(status, Some(78), "{part}: {log}");
        assert!(last.contains("WEBHOOKS") && last.contains("discard"), "{part}: {last}");
    }
}
