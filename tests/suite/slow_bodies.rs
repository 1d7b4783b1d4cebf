//! Bodies that arrive slowly: they have the time that they need while they make progress.

use std::time::{Duration, Instant};

use aftercall_common::contract::streams;
use mongodb::bson::{Document, doc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{CALL_STATUS, TestStack, scaled, scaled_setting, within};

const MIB: usize = 1024 * 1024;
/// Bytes of a slow body.
const SLOW_BYTES: usize = 6 * MIB;
/// `BODY_TIMEOUT` before it is scaled.
const TIMEOUT: Duration = Duration::from_secs(1);

async fn stack() -> TestStack {
    let timeout = scaled_setting(TIMEOUT);
    TestStack::builder().without_worker().gateway_env("BODY_TIMEOUT", &timeout).start().await
}

/// A recording whose webhook has about this number of bytes.
fn recording(bytes: usize) -> String {
    let audio = "SUQz".repeat(bytes / 4 - 50);
    format!(r#"{{"type":"post_call_audio","data":{{"conversation_id":"conv_1","full_audio":"{audio}"}}}}"#)
}

/// Begins a webhook with `body`, of which nothing is sent.
async fn begin(stack: &TestStack, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(stack.public).await.unwrap();
    let head = format!(
        "POST {CALL_STATUS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

async fn answer(socket: &mut TcpStream) -> String {
    let mut answer = String::new();
    let _closed_or_reset = within("the gateway answers", socket.read_to_string(&mut answer)).await;
    answer
}

#[tokio::test]
async fn body_that_keeps_arriving_is_stored_long_after_body_timeout() {
    const PARTS: u32 = 30;
    let stack = stack().await;
    let (body, timeout) = (recording(SLOW_BYTES), scaled(TIMEOUT));
    let (mut socket, began) = (begin(&stack, &body).await, Instant::now());
    for part in body.as_bytes().chunks(body.len().div_ceil(PARTS as usize)) {
        tokio::time::sleep(timeout * 3 / PARTS).await;
        socket.write_all(part).await.unwrap();
    }
    assert!(began.elapsed() > timeout * 2);
    let answer = answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1);
}

#[tokio::test]
async fn body_that_stalls_is_answered_408_whatever_arrived_before() {
    let stack = stack().await;
    let body = recording(SLOW_BYTES);
    let mut socket = begin(&stack, &body).await;
    socket.write_all(&body.as_bytes()[..SLOW_BYTES - MIB]).await.unwrap();
    let began = Instant::now();
    let answer = answer(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
    // At the minimum rate alone, its bytes would give it 80 s more.
    assert!(began.elapsed() < scaled(Duration::from_secs(20)), "{:?}", began.elapsed());
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 0);
}

#[tokio::test]
async fn recording_of_128_mebibytes_goes_through_gateway_and_worker() {
    let setup = TestStack::builder().gateway_env("MAX_BODY_BYTES", "134217728");
    let stack = setup.gateway_env("BODY_TIMEOUT", &scaled_setting(Duration::from_secs(5))).start().await;
    let body = recording(128 * MIB);
    let bytes = i64::try_from(body.matches("SUQz").count() * 3).unwrap();
    let answer = stack.post_to(CALL_STATUS, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    stack.document(doc! { "conversationId": "conv_1" }).await;
    let files = stack.calls.client().database(&stack.calls.namespace().db);
    let files = files.collection::<Document>("recordings.files");
    let file = files.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(file.get_i64("length").unwrap(), bytes);
    let memory = [&stack.gateway, &stack.workers[0]].map(|part| part.peak_resident() / MIB as u64);
    eprintln!("gateway and worker needed {memory:?} MiB");
    assert!(memory[0] < 320 && memory[1] < 640, "gateway and worker needed {memory:?} MiB");
}
