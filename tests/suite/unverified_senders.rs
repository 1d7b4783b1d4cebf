//! Senders that are not verified yet: they cost little memory, and use no budget of the providers.

use std::time::Duration;

use aftercall_common::contract::streams;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    CALL_STATUS, LOOKUP, SECRET, TWILIO_CALL_STATUS, TestStack, TestStackBuilder, post_signed, until, value,
    within,
};

const MIB: usize = 1024 * 1024;
const PUBLIC: &str = "https://hooks.example.com";
const TOKEN: &str = "t0ken";
/// A signature with the right format that is wrong.
const FORGED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A gateway with secrets of both providers.
fn signed() -> TestStackBuilder {
    TestStack::builder()
        .without_worker()
        .gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET)
        .gateway_env("TWILIO_AUTH_TOKEN", TOKEN)
        .gateway_env("PUBLIC_URL", PUBLIC)
}

/// Twilio's signature of `parameters`, which are names and values in sorted order.
fn twilio_signature(parameters: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{PUBLIC}{TWILIO_CALL_STATUS}{parameters}").as_bytes());
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}

/// Posts a form. A signature of 44 characters is announced as SHA-256. Returns status, error code or id, and
/// whether the webhook is a duplicate.
async fn post_form(
    stack: &TestStack,
    body: impl Into<reqwest::Body>,
    signature: Option<&str>,
) -> (u16, String, Value) {
    let request = stack.http.post(format!("{}{TWILIO_CALL_STATUS}", stack.base)).body(body);
    let mut request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(signature) = signature {
        request = request.header("x-twilio-signature", signature);
        if signature.len() == 44 {
            request = request.header("x-twilio-webhooks-signature-settings", "algorithm=HMAC_SHA256");
        }
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let word = body["code"].as_str().or(body["id"].as_str()).unwrap_or_default().to_owned();
    (status, word, body["duplicate"].clone())
}

/// Highest resident memory of the gateway during `work`, in bytes.
async fn peak(stack: &TestStack, work: impl Future<Output = ()>) -> u64 {
    let mut most = stack.gateway.resident();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return most,
            () = tokio::time::sleep(Duration::from_millis(5)) => most = most.max(stack.gateway.resident()),
        }
    }
}

/// Announces the length of `form` and sends its beginning. The gateway answers before it has the rest.
/// Returns status and error code.
async fn post_beginning(stack: &TestStack, form: &str, signature: Option<&str>) -> (u16, String) {
    let signature = signature.map(|value| format!("x-twilio-signature: {value}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {TWILIO_CALL_STATUS} HTTP/1.1\r\nhost: x\r\n{signature}content-length: {}\r\n\r\n",
        form.len()
    );
    let mut socket = TcpStream::connect(stack.public).await.unwrap();
    socket.write_all(&[head.as_bytes(), &form.as_bytes()[..1000]].concat()).await.unwrap();
    let mut answer = String::new();
    let _closed_or_reset =
        within("the gateway closes the connection", socket.read_to_string(&mut answer)).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// Sends a whole body, which the gateway refuses. The gateway may close the connection before it has all of
/// it.
async fn send_whole(stack: &TestStack, body: reqwest::Body, signature: Option<&str>) {
    let mut request = stack.http.post(format!("{}{TWILIO_CALL_STATUS}", stack.base)).body(body);
    if let Some(signature) = signature {
        request = request.header("x-twilio-signature", signature);
    }
    let accepted = request.send().await.is_ok_and(|answer| answer.status().is_success());
    assert!(!accepted);
}

#[tokio::test]
async fn form_of_32_mebibytes_is_refused_with_little_memory() {
    let stack = signed().start().await;
    let form = |bytes: usize| {
        let parameters: Vec<_> = (0..bytes / 8).map(|n| format!("a{n:06}")).collect();
        format!("CallSid=CA1&{}", parameters.join("&"))
    };
    let large = form(32 * MIB);
    let before = stack.gateway.resident();
    let most = peak(&stack, async {
        for (signature, status, code) in [
            (None, 401, "signature_missing"),
            (Some("AAAA"), 401, "signature_invalid"),
            (Some(FORGED), 413, "body_too_large"),
        ] {
            let (found, word) = post_beginning(&stack, &large, signature).await;
            assert_eq!((found, word.as_str()), (status, code), "{signature:?}");
            send_whole(&stack, large.clone().into(), signature).await;
        }
        // A chunked body has no length.
        let chunks: Vec<_> =
            large.as_bytes().chunks(50_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        send_whole(&stack, body, Some(FORGED)).await;
        // Many bodies at the same time, each below the limit.
        let small = format!("CallSid=CA1&a={}", "x".repeat(50_000));
        let posts = (0..64).map(async |_| post_form(&stack, small.clone(), Some(FORGED)).await.0);
        let answers = join_all(posts).await;
        assert!(answers.iter().all(|status| matches!(status, 401 | 503)), "{answers:?}");
    })
    .await;
    let more = most.saturating_sub(before) / MIB as u64;
    assert!(more < 40, "the gateway needed {more} MiB more");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
}

#[tokio::test]
async fn stalled_bodies_of_unverified_senders_leave_the_budget_of_providers_free() {
    let stack = signed().gateway_env("MAX_BODY_BYTES", "65536").gateway_env("MAX_INFLIGHT_BYTES", "65536");
    let stack = stack.gateway_env("BODY_TIMEOUT", "5m").start().await;
    let mut stalled = Vec::new();
    for _ in 0..70 {
        let mut socket = TcpStream::connect(stack.public).await.unwrap();
        let head = format!(
            "POST {TWILIO_CALL_STATUS} HTTP/1.1\r\nhost: x\r\nx-twilio-signature: {FORGED}\r\ncontent-length: 65536\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&vec![b'a'; 65_000]).await.unwrap();
        stalled.push(socket);
    }
    // Stalled bodies displace each other, depending on how fast they arrive.
    until("the gateway holds some of the bodies", async || {
        let metrics = stack.gateway.metrics(&stack.http).await;
        (value(&metrics, "aftercall_inflight_body_bytes")? > 5e5).then_some(())
    })
    .await;
    for n in 0..20 {
        let body =
            json!({ "event_type": "call.busy", "call_id": format!("c{n}"), "pad": "x".repeat(50_000) });
        assert_eq!(post_signed(&stack, SECRET, &body.to_string()).await, 200, "webhook {n}");
    }
    // A genuine callback displaces a stalled body.
    let signature = twilio_signature("CallSidCA1CallStatusringing");
    for call in ["CallSid=CA1&CallStatus=ringing", "CallStatus=ringing&CallSid=CA1"] {
        assert_eq!(post_form(&stack, call, Some(&signature)).await.0, 200);
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 21);
}

#[tokio::test]
async fn bodies_from_unlisted_addresses_leave_the_budget_of_providers_free() {
    let setup = signed().gateway_env("MAX_BODY_BYTES", "65536").gateway_env("MAX_INFLIGHT_BYTES", "65536");
    let setup =
        setup.gateway_env("TRUSTED_PROXIES", "127.0.0.1").gateway_env("ALLOWED_SOURCES", "203.0.113.1");
    let stack = setup.start().await;
    let now = jiff::Timestamp::now().as_second();
    let claim = format!("t={now},v0={}", "0".repeat(64));
    let mut stalled = Vec::new();
    for _ in 0..80 {
        let mut socket = TcpStream::connect(stack.public).await.unwrap();
        let head = format!(
            "POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.9\r\nelevenlabs-signature: {claim}\r\ncontent-length: 262144\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&vec![b'a'; 100_000]).await.unwrap();
        stalled.push(socket);
    }
    let most = async {
        let metrics = stack.gateway.metrics(&stack.http).await;
        value(&metrics, "aftercall_inflight_body_bytes")
    };
    assert!(most.await <= Some(1024.0 * 1024.0), "unlisted senders use more than 1 MiB");
    let body = json!({ "event_type": "call.busy", "call_id": "c", "pad": "x".repeat(50_000) }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.{body}").as_bytes());
    let genuine = format!("t={now},v0={}", hex::encode(mac.finalize().into_bytes()));
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(body);
    let request = request.header("x-forwarded-for", "203.0.113.1").header("elevenlabs-signature", genuine);
    assert_eq!(stack.send(request).await.status, 200);
}

#[tokio::test]
async fn bodies_with_too_many_values_or_levels_are_refused() {
    let stack = TestStack::builder().without_worker().start().await;
    let wide = format!("{{\"a\":[{}0]}}", "[],".repeat(20 * MIB / 3));
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let small = format!("{{\"callSid\":{}1{}}}", "[".repeat(2000), "]".repeat(2000));
    for (path, body) in [(CALL_STATUS, wide), (CALL_STATUS, deep(1000)), (LOOKUP, small)] {
        let answer = stack.post_to(path, body).await;
        assert_eq!((answer.status, answer.code()), (400, "too_complex"), "{path}: {}", answer.body);
    }
    assert_eq!(stack.post_to(CALL_STATUS, deep(140)).await.status, 200, "140 levels are allowed");
    let form = |count: usize| {
        let more: Vec<_> = (1..count).map(|n| format!("p{n}=1")).collect();
        format!("CallSid=CA1&{}", more.join("&"))
    };
    assert_eq!(stack.twilio_to("", &form(300)).await.status, 200);
    let answer = stack.twilio_to("", &form(301)).await;
    assert_eq!((answer.status, answer.code()), (400, "too_complex"));
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 2);
}

#[tokio::test]
async fn one_twilio_signature_is_one_webhook_in_any_spelling_of_the_parameters() {
    let stack = signed().start().await;
    let signature = twilio_signature("CallSidCAtw1CallStatusringingTo+15005550006");
    let (status, id, duplicate) =
        post_form(&stack, "CallSid=CAtw1&CallStatus=ringing&To=%2B15005550006", Some(&signature)).await;
    assert_eq!((status, &duplicate), (200, &json!(false)));
    for spelling in [
        "To=%2b15005550006&CallStatus=ringing&CallSid=CAtw1",
        "%43allSid=CAtw1&CallStatus=ring%69ng&To=%2B15005550006&",
        // The same text, divided differently into name and value.
        "CallSid=CAtw1&CallStatusring=ing&To=%2B15005550006",
        "CallSid=CAtw1CallStatusringing&To=%2B15005550006",
    ] {
        let found = post_form(&stack, spelling, Some(&signature)).await;
        assert_eq!(found, (200, id.clone(), json!(true)), "{spelling}");
    }
    for refused in [
        "CallSidCAtw1CallStatusring=ingTo%2B15005550006",
        "CallSid=CAtw1&CallSid=CAtw1&CallStatus=ringing&To=%2B15005550006",
        "CallSid=CAtw1&CallStatus=ringing&CallStatus=ringing&To=%2B15005550006",
        "CallSid=CAtw1&CallStatus=&=ringing&To=%2B15005550006",
    ] {
        let (status, _, _) = post_form(&stack, refused, Some(&signature)).await;
        assert!(matches!(status, 400 | 401), "{refused}: {status}");
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1);
}
