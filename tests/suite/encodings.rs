//! Compressed bodies, and bodies that begin with a byte order mark.

use std::io::Write as _;

use aftercall_common::contract::streams;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mongodb::bson::doc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{CALL_STATUS, LOOKUP, SECRET, TWILIO_CALL_STATUS, TestStack, twilio_signature, within};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn raw(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A request with a compressed body, signed as it is sent.
fn signed(stack: &TestStack, encoding: &str, packed: &[u8]) -> reqwest::RequestBuilder {
    let now = jiff::Timestamp::now().as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{now}.").as_bytes());
    mac.update(packed);
    let signature = format!("t={now},v0={}", hex::encode(mac.finalize().into_bytes()));
    let request = stack.http.post(format!("{}{CALL_STATUS}", stack.base)).body(packed.to_vec());
    request.header("content-encoding", encoding).header("elevenlabs-signature", signature)
}

/// Posts a compressed body. Returns status and body of the response.
async fn post(stack: &TestStack, encoding: &str, packed: &[u8]) -> (u16, Value) {
    let answer = stack.send(signed(stack, encoding, packed)).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn compressed_bodies_are_verified_as_sent_and_stored_decompressed() {
    let setup = TestStack::builder().without_worker().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let stack = setup.gateway_env("MAX_BODY_BYTES", "1000000").start().await;
    let event = |n: usize, pad: usize| {
        json!({ "event_type": "call.busy", "call_id": format!("c{n}"), "pad": "x".repeat(pad) }).to_string()
    };
    // The last body is large after decompression.
    let texts = [event(1, 10), event(2, 10), event(3, 10), event(4, 10), event(5, 900_000)];
    let packed = [
        ("gzip", gzip(texts[0].as_bytes())),
        ("X-GZip", gzip(texts[1].as_bytes())),
        ("deflate", zlib(texts[2].as_bytes())),
        ("deflate", raw(texts[3].as_bytes())),
        ("gzip", gzip(texts[4].as_bytes())),
    ];
    for (n, ((encoding, packed), text)) in packed.iter().zip(&texts).enumerate() {
        let (status, answer) = post(&stack, encoding, packed).await;
        let id = hex::encode(Sha256::digest(format!("{CALL_STATUS}\n{text}")));
        assert_eq!((status, &answer["id"]), (200, &json!(id)), "{encoding}: {answer}");
        let message = stack.message(streams::WEBHOOKS, n as u64 + 1).await;
        assert!(message.payload == text.as_bytes(), "{encoding}: not stored as it was before compression");
    }
    let (status, answer) = post(&stack, "identity", texts[0].as_bytes()).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)), "the same webhook without compression");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 5);
}

#[tokio::test]
async fn bodies_that_cannot_be_decompressed_within_the_limits_are_refused() {
    let setup = TestStack::builder().without_worker().gateway_env("ELEVENLABS_WEBHOOK_SECRET", SECRET);
    let stack = setup.gateway_env("MAX_BODY_BYTES", "1000000").start().await;
    let bomb = gzip(&vec![b' '; 200_000_000]);
    assert!(bomb.len() < 300_000);
    let before = stack.gateway.resident();
    let nested = gzip(&gzip(b"{}"));
    #[rustfmt::skip]
    let table = [
        ("gzip",          bomb,                    413, "body_too_large"),
        ("gzip",          b"{}".to_vec(),          400, "invalid_encoding"),
        ("gzip",          gzip(b"{}")[..9].to_vec(), 400, "invalid_encoding"),
        ("gzip",          gzip(b"[1"),             400, "invalid_json"),
        ("gzip",          nested,                  400, "invalid_json"),
        ("br",            b"{}".to_vec(),          415, "unsupported_encoding"),
        ("zstd",          b"{}".to_vec(),          415, "unsupported_encoding"),
        ("gzip, gzip",    gzip(&gzip(b"{}")),      415, "unsupported_encoding"),
    ];
    for (encoding, packed, status, code) in table {
        let (found, answer) = post(&stack, encoding, &packed).await;
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{encoding}: {answer}");
    }
    let more = stack.gateway.resident().saturating_sub(before) >> 20;
    assert!(more < 40, "the gateway needed {more} MiB more");
    let answer = signed(&stack, "br", b"{}").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["accept-encoding"]),
        (415, &"gzip, deflate".parse().unwrap())
    );
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
}

#[tokio::test]
async fn byte_order_mark_is_ignored_and_the_bytes_are_stored_unchanged() {
    let stack = TestStack::builder().start().await;
    let json = "\u{feff}{\"event_type\":\"call.busy\",\"call_id\":\"c\"}";
    assert_eq!(stack.post_to(CALL_STATUS, json).await.status, 200);
    assert_eq!(stack.message(streams::WEBHOOKS, 1).await.payload, json.as_bytes());
    let form = "\u{feff}CallSid=CA1&CallStatus=ringing";
    stack.twilio(form).await;
    assert_eq!(stack.message(streams::WEBHOOKS, 2).await.payload, form.as_bytes());
    stack.until_call("c", doc! { "status": "busy" }).await;
    stack.until_call("CA1", doc! { "status": "ringing" }).await;
    let url = format!("{}{TWILIO_CALL_STATUS}", stack.base);
    let signature = twilio_signature(&url, "CallSid=CA2&CallStatus=ringing");
    let packed =
        stack.http.post(url).header("content-encoding", "gzip").header("x-twilio-signature", signature);
    let packed = packed.header("content-type", "application/x-www-form-urlencoded");
    let packed = packed.body(gzip(b"CallSid=CA2&CallStatus=ringing"));
    assert_eq!(packed.send().await.unwrap().status(), 200);
    assert_eq!(stack.message(streams::WEBHOOKS, 3).await.payload, &b"CallSid=CA2&CallStatus=ringing"[..]);
    // The worker answers lookups in either encoding.
    let question = "\u{feff}{\"callSid\":\"CA1\"}".as_bytes();
    for (encoding, body) in [("identity", question.to_vec()), ("gzip", gzip(question))] {
        let request = stack.http.post(format!("{}{LOOKUP}", stack.base)).header("content-encoding", encoding);
        let answer = stack.send(request.body(body)).await;
        assert_eq!((answer.status, &answer.body["status"]), (200, &json!("ringing")), "{encoding}");
    }
}

#[tokio::test]
async fn compressing_transfer_codings_are_refused() {
    let stack = TestStack::builder().without_worker().start().await;
    for coding in ["gzip", "gzip, chunked", "Deflate"] {
        let mut socket = TcpStream::connect(stack.public).await.unwrap();
        let request = format!(
            "POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let closes = format!("the gateway closes the connection, {coding}");
        let _closed_or_reset = within(&closes, socket.read_to_string(&mut answer)).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{coding}: {answer}");
        assert!(answer.contains("unsupported_transfer_encoding"), "{coding}: {answer}");
    }
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
}
