//! Connections without a readable request: response, metrics and log. The PROXY protocol.

use aftercall_common::contract::streams;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{self, Authority, CALL_STATUS, TestStack, until, within};

/// Sends `bytes` on a new connection from `source`, and reads until the gateway closes it.
async fn exchange(stack: &TestStack, source: [u8; 4], bytes: &[u8]) -> Vec<u8> {
    harness::exchange(&mut stack.connect_from(source).await, bytes).await
}

/// Status and error code of a response.
fn problem(answer: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

fn webhook(call_id: &str) -> String {
    let body = json!({ "event_type": "call.busy", "call_id": call_id }).to_string();
    let length = body.len();
    format!(
        "POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// The number of unreadable requests with this reason, from the metrics.
async fn count(stack: &TestStack, reason: &str) -> u64 {
    let series = format!("aftercall_connections_unreadable_total{{reason=\"{reason}\"}}");
    let page = stack.gateway.metrics(&stack.http).await;
    let shown = page.lines().find_map(|line| line.strip_prefix(&series));
    let shown = shown.unwrap_or_else(|| panic!("no {series} in {page}\n{}", stack.gateway.log()));
    shown.trim().parse().unwrap()
}

#[tokio::test]
async fn unreadable_requests_are_answered_counted_and_logged_once_a_minute() {
    let stack = TestStack::builder().without_worker().start().await;
    let headers = |count: usize| {
        let lines: Vec<_> = (0..count).map(|n| format!("x-{n}: a\r\n")).collect();
        let lines = lines.concat();
        format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\n{lines}content-length: 2\r\n\r\n{{}}")
    };
    let proxy = format!("PROXY TCP4 198.51.100.7 10.0.0.1 5000 443\r\n{}", webhook("c"));
    let proxy2 =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[1; 12], webhook("c").as_bytes()].concat();
    let tls = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 500]].concat();
    let many = headers(101);
    let long = format!("POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    #[rustfmt::skip]
    let table: [(&str, &[u8], u16); 7] = [
        ("proxy_protocol", proxy.as_bytes(),                                  400),
        ("proxy_protocol", &proxy2,                                           400),
        ("tls",            &tls,                                              400),
        ("head_too_large", many.as_bytes(),                                   431),
        ("head_too_large", long.as_bytes(),                                   431),
        ("malformed",      b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",   400),
        ("malformed",      b"hello\r\n\r\n",                                  400),
    ];
    for (n, (reason, bytes, status)) in table.into_iter().enumerate() {
        let before = count(&stack, reason).await;
        let source = [127, 0, 7, u8::try_from(n).unwrap()];
        let answer = exchange(&stack, source, bytes).await;
        assert_eq!(problem(&answer), (status, reason.to_owned()), "{}", String::from_utf8_lossy(&answer));
        assert!(String::from_utf8_lossy(&answer).contains("application/problem+json"));
        assert_eq!(count(&stack, reason).await, before + 1, "{reason}");
    }
    let answer =
        exchange(&stack, [127, 0, 7, 99], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!((answer[3], answer[12], answer[25]), (4, 7, 0x0d), "SETTINGS, GOAWAY: HTTP_1_1_REQUIRED");
    assert_eq!(count(&stack, "http2").await, 1);

    // Further connections of the same source are counted, and not logged.
    let before = stack.gateway.log().matches("connection without a valid request").count();
    assert_eq!(before, 8, "{}", stack.gateway.log());
    for _ in 0..10 {
        exchange(&stack, [127, 0, 7, 99], proxy.as_bytes()).await;
    }
    let logged = stack.gateway.log();
    assert_eq!(logged.matches("connection without a valid request").count(), before, "{logged}");
    assert_eq!(count(&stack, "proxy_protocol").await, 12);
    assert!(logged.contains("PROXY_PROTOCOL=true") && logged.contains("127.0.7.0"), "{logged}");
    assert!(!logged.contains("198.51.100.7"), "nothing that the peer sent is logged");
    // Unreadable bytes after an answered request are refused in the same way.
    let twice = format!("{}hello\r\n\r\n", webhook("c").replace("connection: close\r\n", ""));
    let answer = String::from_utf8(exchange(&stack, [127, 0, 0, 1], twice.as_bytes()).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 400 "), "{answer}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1);
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_counted_and_not_answered() {
    let authority = Authority::new(2031);
    let (certificate, key) = authority.issue();
    let setup =
        TestStack::builder().without_worker().gateway_env("TLS_CERT_FILE", certificate.to_str().unwrap());
    let stack = setup.gateway_env("TLS_KEY_FILE", key.to_str().unwrap()).start().await;
    let answer = exchange(&stack, [127, 0, 0, 1], webhook("c").as_bytes()).await;
    assert!(!answer.starts_with(b"HTTP"), "the answer is a TLS alert at most");
    assert_eq!(count(&stack, "not_tls").await, 1);
}

#[tokio::test]
async fn proxy_protocol_header_of_a_trusted_proxy_names_the_client() {
    let setup =
        TestStack::builder().without_worker().gateway_env("ALLOWED_SOURCES", "203.0.113.0/24,127.0.0.2");
    let setup = setup.gateway_env("TRUSTED_PROXIES", "127.0.0.1").gateway_env("PROXY_PROTOCOL", "true");
    let stack = setup.gateway_env("MAX_CONNECTIONS_PER_SOURCE", "3").start().await;
    let v1 = |client: &str| format!("PROXY TCP4 {client} 10.0.0.1 5000 443\r\n").into_bytes();
    let v2 = |client: [u8; 4]| {
        let addresses = [&client[..], &[10, 0, 0, 1, 0x13, 0x88, 0x01, 0xBB]].concat();
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &addresses].concat()
    };
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec();
    let (balancer, other) = ([127, 0, 0, 1], [127, 0, 0, 9]);
    #[rustfmt::skip]
    let table = [
        ("a", balancer, v1("203.0.113.7"),           200, ""),
        ("b", balancer, v2([203, 0, 113, 8]),        200, ""),
        ("c", balancer, v1("198.51.100.7"),          403, "source_not_allowed"),
        ("d", balancer, v2([198, 51, 100, 7]),       403, "source_not_allowed"),
        // A health check of the load balancer: its own address counts, which is not allowed here.
        ("e", balancer, local,                       403, "source_not_allowed"),
        ("f", balancer, b"PROXY UNKNOWN\r\n".to_vec(), 403, "source_not_allowed"),
        ("g", balancer, Vec::new(),                  400, "proxy_header_missing"),
        ("h", balancer, b"PROXY TCP4 nonsense\r\n".to_vec(), 400, "proxy_header_missing"),
        // The bytes of the client follow the header. They must not name a client.
        ("m", balancer, b"PROXY UNKNOWN\r\n".to_vec(), 403, "source_not_allowed"),
        // A loopback address in a header is not this machine.
        ("l", balancer, v1("127.0.0.2"),             403, "source_not_allowed"),
        // The header counts only from a trusted proxy.
        ("i", other,    v1("203.0.113.7"),           400, "proxy_protocol"),
        ("j", other,    v2([203, 0, 113, 7]),        400, "proxy_protocol"),
        ("k", other,    Vec::new(),                  403, "source_not_allowed"),
    ];
    for (name, peer, header, status, code) in table {
        let answer = exchange(&stack, peer, &[&header[..], webhook(name).as_bytes()].concat()).await;
        assert_eq!(
            problem(&answer),
            (status, code.to_owned()),
            "{name}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(count(&stack, "proxy_header_missing").await, 2);
    for (sequence, source) in [(1, "203.0.113.7"), (2, "203.0.113.8")] {
        let message = stack.message(streams::WEBHOOKS, sequence).await;
        assert_eq!(message.headers.get(streams::header::SOURCE_IP).unwrap().as_str(), source);
    }
    // The limit of connections applies to the client, not to the load balancer.
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut socket = stack.connect_from(balancer).await;
        socket.write_all(&v1("203.0.113.9")).await.unwrap();
        socket.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        held.push(socket);
    }
    let full = async |client: &str| {
        exchange(&stack, balancer, &[&v1(client)[..], webhook("l").as_bytes()].concat()).await.is_empty()
    };
    until("the fourth connection of a client is closed unread", async || {
        full("203.0.113.9").await.then_some(())
    })
    .await;
    assert!(!full("203.0.113.10").await, "another client has its own limit");
}

#[tokio::test]
async fn unauthenticated_connections_do_not_displace_an_authenticated_one() {
    let setup = TestStack::builder().without_worker().gateway_env("MAX_CONNECTIONS", "30");
    let stack = setup.gateway_env("HEADER_TIMEOUT", "5m").start().await;
    let mut known = stack.connect_from([127, 0, 0, 1]).await;
    let request = webhook("known").replace("connection: close\r\n", "");
    let mut served = async || {
        known.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let read = within("the gateway answers", known.read(&mut answer)).await.unwrap();
        answer[..read].starts_with(b"HTTP/1.1 200 ")
    };
    assert!(served().await);
    let mut strangers = Vec::new();
    for n in 0..4 {
        strangers.extend(join_all((0..25).map(|m| stack.connect_from([127, 0, 2, n * 25 + m]))).await);
        let answer = exchange(
            &stack,
            [127, 0, 3, n],
            b"POST /elsewhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        );
        assert_eq!(problem(&answer.await).0, 404, "a new connection is served");
    }
    assert!(served().await, "the authenticated connection was closed, although it is exempt");
}
