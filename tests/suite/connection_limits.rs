//! Limits of connections and request heads, and requests that two programs would read differently.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use aftercall_common::contract::streams;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{self, CALL_STATUS, TestStack, test_timeout, until, value, within};

/// A request with this body, as bytes.
fn request(body: &str) -> String {
    format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn webhook(call_id: &str) -> String {
    request(&json!({ "event_type": "call.busy", "call_id": call_id }).to_string())
}

/// Sends `bytes` and reads the answer as text, until the gateway closes the connection.
async fn exchange(socket: &mut TcpStream, bytes: &[u8]) -> String {
    String::from_utf8_lossy(&harness::exchange(socket, bytes).await).into_owned()
}

/// Whether a webhook on a new connection from `source` is answered 200.
async fn is_served(stack: &TestStack, source: [u8; 4]) -> bool {
    is_served_with(stack, source, "").await
}

/// As [`is_served`], with further header lines, each after a line break.
async fn is_served_with(stack: &TestStack, source: [u8; 4], headers: &str) -> bool {
    let mut socket = stack.connect_from(source).await;
    let close = webhook("c").replace("host: x", &format!("host: x\r\nconnection: close{headers}"));
    exchange(&mut socket, close.as_bytes()).await.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn one_source_cannot_hold_every_connection() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("MAX_CONNECTIONS_PER_SOURCE", "5")
        .gateway_env("TRUSTED_PROXIES", "127.0.0.8")
        .gateway_env("HEADER_TIMEOUT", "5m")
        .start()
        .await;
    let greedy = join_all((0..5).map(|_| stack.connect_from([127, 0, 0, 9]))).await;
    assert!(!is_served(&stack, [127, 0, 0, 9]).await, "a sixth connection");
    assert!(is_served(&stack, [127, 0, 0, 10]).await, "another source");
    let proxied = join_all((0..9).map(|_| stack.connect_from([127, 0, 0, 8]))).await;
    let forwarded = "\r\nx-forwarded-for: 34.67.146.145";
    assert!(
        is_served_with(&stack, [127, 0, 0, 8], forwarded).await,
        "the limit does not apply to a trusted proxy"
    );
    let metrics = stack.gateway.metrics(&stack.http).await;
    assert!(metrics.contains("aftercall_connections_refused_total 1\n"), "{metrics}");
    drop((greedy, proxied));
    until("the closed connections no longer count", async || {
        is_served(&stack, [127, 0, 0, 9]).await.then_some(())
    })
    .await;
}

/// Whether the gateway has closed a connection from which nothing was read.
fn is_closed(socket: &TcpStream) -> bool {
    !matches!(socket.try_read(&mut [0; 16]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn idle_connections_are_closed_for_new_ones_and_active_connections_stay() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("MAX_CONNECTIONS", "100")
        .gateway_env("HEADER_TIMEOUT", "5m")
        .gateway_env("BODY_TIMEOUT", "5m")
        .start()
        .await;
    // Two active connections: one is sending a body, the other one is kept and used.
    let (head, body) =
        webhook("slow").split_at_checked(120).map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let mut slow = stack.connect_from([127, 0, 0, 1]).await;
    slow.write_all(head.as_bytes()).await.unwrap();
    let keeper =
        aftercall_local::http_client_builder(test_timeout()).pool_max_idle_per_host(1).build().unwrap();
    let keeps = async |n: usize| {
        let body = json!({ "event_type": "call.busy", "call_id": format!("keeper{n}") }).to_string();
        keeper.post(format!("{}{CALL_STATUS}", stack.base)).body(body).send().await.unwrap().status()
    };
    // Four times the limit of idle connections: silent, with half a request head, or idle after an answer.
    let mut idle = Vec::new();
    for n in 0..400_usize {
        let mut socket = stack.connect_from([127, 0, 1, u8::try_from(n % 250).unwrap()]).await;
        match n % 3 {
            0 => {}
            1 => socket.write_all(b"POST / HTTP/1.1\r\nhost").await.unwrap(),
            _ => {
                socket.write_all(webhook("idle").as_bytes()).await.unwrap();
                let mut answer = [0; 1024];
                let read = within("the gateway answers", socket.read(&mut answer)).await.unwrap();
                assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{n}");
            }
        }
        idle.push(socket);
        if n % 25 == 0 {
            assert_eq!(keeps(n).await, 200);
            assert!(is_served(&stack, [127, 0, 0, 9]).await, "a new connection after {n} idle ones");
        }
    }
    until("the connections that were idle longest are closed", async || {
        idle[..250].iter().all(is_closed).then_some(())
    })
    .await;
    assert!(!idle[399..].iter().any(is_closed), "the newest connection is closed");
    let answer = exchange(
        &mut slow,
        format!("{body}{}", webhook("next").replace("host: x", "host: x\r\nconnection: close")).as_bytes(),
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    let metrics = stack.gateway.metrics(&stack.http).await;
    assert!(value(&metrics, "aftercall_connections_displaced_total") >= Some(300.0), "{metrics}");
    assert!(value(&metrics, "aftercall_connections") <= Some(100.0), "{metrics}");
}

#[tokio::test]
async fn unfinished_request_heads_are_closed_after_the_timeout() {
    let stack = TestStack::builder().without_worker().gateway_env("HEADER_TIMEOUT", "300ms").start().await;
    let began = Instant::now();
    // A silent connection, one with half a request head, and one that sends a head without end, byte by byte.
    let mut silent = stack.connect_from([127, 0, 0, 1]).await;
    let mut half = stack.connect_from([127, 0, 0, 1]).await;
    let mut endless = stack.connect_from([127, 0, 0, 1]).await;
    let drip = async {
        endless.write_all(b"POST / HTTP/1.1\r\nx-padding: ").await.unwrap();
        while endless.write_all(b"x").await.is_ok() {
            assert!(began.elapsed() < test_timeout(), "the gateway closes the connection");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (silent, half, ()) =
        tokio::join!(exchange(&mut silent, b""), exchange(&mut half, b"POST / HTTP/1.1\r\nhost"), drip);
    assert_eq!((silent.as_str(), half.as_str()), ("", ""));
    // The time limit also applies to the next request of a connection.
    let mut idle = stack.connect_from([127, 0, 0, 1]).await;
    let answer = exchange(&mut idle, request("no webhook").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{answer}");
    for unknown in ["GET /x", "HEAD /x", "POST /x"] {
        let mut idle = stack.connect_from([127, 0, 0, 1]).await;
        let answer = exchange(&mut idle, format!("{unknown} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{unknown}: {answer}");
    }
    let mut half = stack.connect_from([127, 0, 0, 1]).await;
    half.write_all(webhook("c").as_bytes()).await.unwrap();
    let read = within("the gateway answers", half.read(&mut [0; 1024])).await.unwrap();
    let answer = exchange(&mut half, b"POST / HTTP/1.1\r\nhost").await;
    assert!(read > 0 && answer.is_empty(), "{answer}");
}

#[tokio::test]
async fn idle_connections_of_proxies_and_of_the_provider_stay_open() {
    let stack = TestStack::builder()
        .without_worker()
        .gateway_env("TRUSTED_PROXIES", "127.0.0.8")
        .gateway_env("HEADER_TIMEOUT", "300ms")
        .start()
        .await;
    // A proxy whose first request was refused, and a sender whose first request was accepted.
    let forwarded = |request: String| request.replace("host: x", "host: x\r\nx-forwarded-for: 34.67.146.145");
    let connections = [
        ([127, 0, 0, 8], forwarded(request("no webhook")), "HTTP/1.1 400 ", forwarded(webhook("p"))),
        ([127, 0, 0, 9], webhook("a"), "HTTP/1.1 200 ", webhook("b")),
    ];
    // Anybody may ask for the description, so it earns no time.
    let asked = async {
        let mut socket = stack.connect_from([127, 0, 0, 10]).await;
        let request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let (mut answer, answered) = (Vec::new(), Instant::now());
        within("the gateway closes the connection", socket.read_to_end(&mut answer)).await.unwrap();
        // An accepted request would earn 75 s.
        assert!(answered.elapsed() < Duration::from_mins(1), "{:?}", answered.elapsed());
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    };
    let used = connections.map(async |(source, first, status, second)| {
        let mut socket = stack.connect_from(source).await;
        if source == [127, 0, 0, 8] {
            tokio::time::sleep(Duration::from_millis(1500)).await; // A proxy may connect long before its first request.
        }
        for (request, status, idle) in [(first, status, 0), (second, "HTTP/1.1 200 ", 1500)] {
            tokio::time::sleep(Duration::from_millis(idle)).await;
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 2048];
            let read = within("the gateway answers", socket.read(&mut answer)).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with(status), "{source:?} after {idle} ms: {answer}");
        }
    });
    tokio::join!(join_all(used), asked);
}

#[tokio::test]
async fn body_sent_byte_by_byte_gets_no_extra_time() {
    let stack = TestStack::builder().without_worker().gateway_env("BODY_TIMEOUT", "300ms").start().await;
    let mut socket = stack.connect_from([127, 0, 0, 1]).await;
    let head = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = socket.split();
    let began = Instant::now();
    let drip = async {
        while writing.write_all(b" ").await.is_ok() {
            assert!(began.elapsed() < test_timeout(), "the gateway closes the connection");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = [0; 1024];
    let read = tokio::select! {
        read = reading.read(&mut answer) => read.unwrap(),
        () = drip => panic!("closed without an answer"),
    };
    assert!(answer[..read].starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer[..read]));
}

#[tokio::test]
async fn request_heads_are_limited_in_bytes_and_lines() {
    let stack = TestStack::builder().without_worker().start().await;
    let post = |path: &str, headers: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n")
    };
    let many = |count| "x: y\r\n".repeat(count);
    #[rustfmt::skip]
    let table = [
        (post("/elsewhere", &many(90)),                                                404),
        (post("/elsewhere", &many(110)),                                               431),
        (post("/elsewhere", &format!("x: {}\r\n", "y".repeat(60_000))),                404),
        (post("/elsewhere", &format!("x: {}\r\n", "y".repeat(300_000))),               431),
        (post(&format!("/{}", "p".repeat(60_000)), ""),                                404),
        (post(&format!("{CALL_STATUS}?{}", "q".repeat(300_000)), ""),                  431),
        (post(&format!("{CALL_STATUS}/../call-status"), ""),                           404),
        (post(&format!("/{CALL_STATUS}"), ""),                                         400),
        (post(&CALL_STATUS.replace("call", "%63all"), ""),                             404),
    ];
    for (request, status) in table {
        let answer = exchange(&mut stack.connect_from([127, 0, 0, 1]).await, request.as_bytes()).await;
        let shown: String = request.chars().take(80).collect();
        // The reset of the connection may overtake the answer to a head that is too large.
        let is_expected =
            answer.starts_with(&format!("HTTP/1.1 {status} ")) || (status == 431 && answer.is_empty());
        assert!(is_expected, "{shown}: {}", answer.lines().next().unwrap_or_default());
    }
    assert!(is_served(&stack, [127, 0, 0, 1]).await);
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1, "only the last request is stored");
}

/// Each request hides a second one from a proxy that reads the first one differently.
#[tokio::test]
async fn ambiguous_requests_are_refused_and_hide_no_second_request() {
    let stack = TestStack::builder().without_worker().start().await;
    let hidden = webhook("smuggled");
    let length = hidden.len();
    #[rustfmt::skip]
    let table = [
        // A length and chunks: hyper reads the chunks, and must not read what follows them.
        ("content-length: 5\r\ntransfer-encoding: chunked".to_owned(),         format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding: chunked\r\ncontent-length: 5".to_owned(),         format!("0\r\n\r\n{hidden}")),
        (format!("content-length: 0\r\ncontent-length: {length}"),             hidden.clone()),
        (format!("content-length: 0, {length}"),                               hidden.clone()),
        ("content-length: +0".to_owned(),                                      hidden.clone()),
        ("content-length: 0x0".to_owned(),                                     hidden.clone()),
        ("content-length: -1".to_owned(),                                      hidden.clone()),
        ("content-length: 99999999999999999999".to_owned(),                    hidden.clone()),
        ("content-length : 0".to_owned(),                                      hidden.clone()),
        ("transfer-encoding: xchunked".to_owned(),                             format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding: chunked, identity".to_owned(),                    format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding: identity\r\ntransfer-encoding: chunked".to_owned(), format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding:\u{b}chunked".to_owned(),                          format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding : chunked".to_owned(),                             format!("0\r\n\r\n{hidden}")),
        ("x: y\r\n transfer-encoding: chunked".to_owned(),                     format!("0\r\n\r\n{hidden}")),
        ("transfer-encoding: chunked".to_owned(),                              format!("0;\n\r\n\r\n{hidden}")),
        ("transfer-encoding: chunked".to_owned(),                              format!("fffffffffffffffff\r\n{hidden}")),
        ("transfer-encoding: chunked".to_owned(),                              format!("0x0\r\n\r\n{hidden}")),
        ("transfer-encoding: chunked".to_owned(),                              format!("-0\r\n\r\n{hidden}")),
        ("x: \0".to_owned(),                                                   hidden.clone()),
    ];
    for (headers, body) in table {
        let text = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{body}");
        let answer = exchange(&mut stack.connect_from([127, 0, 0, 1]).await, text.as_bytes()).await;
        let answers: Vec<_> = answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
        assert!(answers.iter().all(|line| line.starts_with("HTTP/1.1 400 ")), "{headers:?}: {answer}");
        assert!(answers.len() <= 1, "{headers:?}: {answer}");
    }
    let old = format!("POST {CALL_STATUS} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    let answer = exchange(&mut stack.connect_from([127, 0, 0, 1]).await, old.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(), "{answer}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0, "nothing was smuggled in");
    // Two unambiguous requests on one connection are both answered.
    let close = hidden.replace("host: x", "host: x\r\nconnection: close");
    let answer = exchange(
        &mut stack.connect_from([127, 0, 0, 1]).await,
        format!("{}{close}", webhook("a")).as_bytes(),
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
}
