//! Turns and recordings: parts, ranges, versions, slow and many readers, workers that stop.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{AsyncWriteExt as _, future::join_all};
use mongodb::{
    bson::{Bson, doc},
    options::GridFsBucketOptions,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{CALLS, call, get, send};
use crate::harness::{TestStack, until, within};

const MIB: u64 = 1024 * 1024;
/// Most answers to readers at one time.
const READERS: usize = 128;
/// Bytes of a recording of many parts.
const LARGE: usize = 3_000_017;

/// The bytes of a recording.
fn audio(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

/// Stores a file, and returns its reference in a document.
async fn store(stack: &TestStack, bucket: &str, id: &str, bytes: &[u8]) -> Bson {
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    let options = GridFsBucketOptions::builder().bucket_name(bucket.to_owned()).build();
    let bucket = database.gridfs_bucket(options);
    let mut upload = bucket.open_upload_stream(id).id(Bson::from(id)).await.unwrap();
    upload.write_all(bytes).await.unwrap();
    upload.close().await.unwrap();
    doc! { "fileId": id, "bytes": i64::try_from(bytes.len()).unwrap() }.into()
}

/// A stack with the call `c`, which has a recording of `bytes` bytes.
async fn recorded(stack: &TestStack, bytes: usize) -> Vec<u8> {
    let audio = audio(bytes);
    let file = store(stack, "recordings", "f", &audio).await;
    stack.calls.insert_one(call("c", 0, doc! { "audio": file })).await.unwrap();
    audio
}

#[tokio::test]
async fn turns_are_the_same_from_document_and_file() {
    let stack = TestStack::start().await;
    let turns: Vec<_> =
        (0..9000).map(|n| json!({ "role": "user", "message": format!("é{n}"), "n": n })).collect();
    let bytes = serde_json::to_vec(&turns).unwrap();
    let file = store(&stack, "transcripts", "t", &bytes).await;
    let in_document: Vec<Bson> =
        (0..9000).map(|n| doc! { "role": "user", "message": format!("é{n}"), "n": n }.into()).collect();
    stack
        .calls
        .insert_many([
            call("file", 0, doc! { "transcript": file }),
            call("document", 0, doc! { "transcript": in_document }),
        ])
        .await
        .unwrap();
    for id in ["file", "document"] {
        let answer = get(&stack, &format!("{CALLS}/{id}/transcript")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{id}");
        assert!(answer.bytes.len() > 3 * 128 * 1024, "several parts: {}", answer.bytes.len());
        assert_eq!(answer.header("content-length"), answer.bytes.len().to_string());
        assert_eq!(answer.json(), json!({ "turns": turns }), "{id}");
        let known = [("if-none-match", answer.header("etag"))];
        let again = send(&stack, Method::GET, &format!("{CALLS}/{id}/transcript"), &known).await;
        assert_eq!((again.status, again.bytes.len()), (304, 0), "{id}");
    }
}

#[tokio::test]
async fn a_call_without_turns_or_recording_says_so() {
    let stack = TestStack::start().await;
    let calls = [
        call("none", 0, doc! {}),
        call("owed", 0, doc! { "transcriptState": "owed" }),
        call(
            "lost",
            0,
            doc! { "audio": { "fileId": "gone" }, "transcript": { "fileId": "gone", "bytes": 7_i64 } },
        ),
    ];
    stack.calls.insert_many(calls).await.unwrap();
    #[rustfmt::skip]
    let table = [
        ("none/transcript",    "no_transcript", "none is being fetched"),
        ("owed/transcript",    "no_transcript", "it is being fetched"),
        ("lost/transcript",    "no_transcript", "none is stored"),
        ("none/audio",         "no_recording",  ""),
        ("lost/audio",         "no_recording",  ""),
        ("unknown/transcript", "not_found",     ""),
        ("unknown/audio",      "not_found",     ""),
    ];
    for (path, code, detail) in table {
        let answer = get(&stack, &format!("{CALLS}/{path}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, code), "{path}");
        assert!(answer.detail().contains(detail), "{path}: {}", answer.detail());
    }
    let answer = get(&stack, &format!("{CALLS}/none/audio?include=history")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn a_recording_of_a_webhook_is_served_whole_and_in_ranges() {
    let stack = TestStack::start().await;
    let bytes = audio(700_001);
    let data =
        json!({ "agent_id": "a", "conversation_id": "v", "full_audio": BASE64_STANDARD.encode(&bytes) });
    stack.webhook(&json!({ "type": "post_call_audio", "data": data })).await;
    stack.document(doc! { "conversationId": "v", "audio.fileId": { "$exists": true } }).await;
    let path = format!("{CALLS}/v/audio");
    let whole = get(&stack, &path).await;
    assert_eq!((whole.status, whole.bytes == bytes), (200, true));
    assert_eq!((whole.header("content-type"), whole.header("accept-ranges")), ("audio/mpeg", "bytes"));
    let (tag, length) = (whole.header("etag").to_owned(), bytes.len());
    #[rustfmt::skip]
    let table = [
        ("bytes=0-",              0,          length - 1),
        ("bytes=0-0",             0,          0),
        ("bytes=131071-131072",   131_071,    131_072),
        ("bytes=260000-600000",   260_000,    600_000),
        ("bytes=699999-9999999",  699_999,    length - 1),
        ("bytes=-5",              length - 5, length - 1),
    ];
    for (range, from, to) in table {
        let part = send(&stack, Method::GET, &path, &[("range", range), ("if-range", &tag)]).await;
        assert_eq!((part.status, part.bytes == bytes[from..=to]), (206, true), "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/{length}"), "{range}");
        assert_eq!(part.header("content-length"), (to + 1 - from).to_string(), "{range}");
        // Only GET has ranges (RFC 9110, section 14.2).
        let head = send(&stack, Method::HEAD, &path, &[("range", range)]).await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, whole.header("content-length")),
            "{range}"
        );
    }
    for (headers, status) in [
        (&[("range", "bytes=700001-")][..], 416),
        (&[("range", "bytes=-0")], 416),
        (&[("range", "bytes=5-2")], 200),
        (&[("range", "bytes=0-1,4-5")], 200),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=0-1"), ("if-none-match", &tag)], 304),
    ] {
        let answer = send(&stack, Method::GET, &path, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 416 {
            assert_eq!(answer.code(), "range_not_satisfiable");
            assert_eq!(answer.header("content-range"), format!("bytes */{length}"), "{headers:?}");
        }
    }
    let head = send(&stack, Method::HEAD, &path, &[]).await;
    assert_eq!((head.status, head.bytes.len(), head.header("content-length")), (200, 0, "700001"));
}

#[tokio::test]
async fn a_hundred_readers_at_once_get_the_whole_recording() {
    let stack = TestStack::start().await;
    let bytes = recorded(&stack, LARGE).await;
    let before = stack.gateway.resident();
    let read = async || {
        let answer = get(&stack, &format!("{CALLS}/c/audio")).await;
        assert_eq!((answer.status, answer.bytes == bytes), (200, true));
    };
    join_all((0..100).map(|_| read())).await;
    let grown = stack.gateway.resident().saturating_sub(before);
    assert!(grown < 100 * MIB, "the gateway has grown by {grown} bytes");
}

#[tokio::test]
async fn readers_that_take_nothing_cost_a_bounded_number_of_parts() {
    let stack = TestStack::start().await;
    recorded(&stack, 40_000_000).await;
    let before = stack.gateway.resident();
    let request = format!("GET {CALLS}/c/audio HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut sockets = Vec::new();
    let mut stalled = async |readers: usize| {
        for _ in 0..readers {
            let mut socket = TcpStream::connect(stack.public).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            within("the answer begins", socket.read_exact(&mut head)).await.unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
            sockets.push(socket);
        }
    };
    stalled(READERS - 1).await;
    // One more reader is served meanwhile.
    assert_eq!(get(&stack, CALLS).await.status, 200);
    stalled(1).await;
    let refused = get(&stack, CALLS).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    let grown = stack.gateway.resident().saturating_sub(before);
    assert!(grown < 110 * MIB, "the gateway has grown by {grown} bytes");
    drop(sockets);
    until("readers are served again", async || (get(&stack, CALLS).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_download_goes_on_when_its_worker_is_killed() {
    let mut stack = TestStack::start().await;
    let bytes = recorded(&stack, 20_000_000).await;
    stack.add_worker().await;
    let mut answer = stack.http.get(format!("{}{CALLS}/c/audio", stack.base)).send().await.unwrap();
    let mut read = answer.chunk().await.unwrap().unwrap().to_vec();
    stack.workers[0].kill().await;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        read.extend(chunk);
    }
    assert!(read == bytes, "{} bytes of {}", read.len(), bytes.len());
}

#[tokio::test]
async fn an_answer_ends_early_if_its_content_changes() {
    let stack = TestStack::start().await;
    recorded(&stack, 40_000_000).await;
    let mut answer = stack.http.get(format!("{}{CALLS}/c/audio", stack.base)).send().await.unwrap();
    answer.chunk().await.unwrap().unwrap();
    let other = store(&stack, "recordings", "g", &vec![0; 40_000_000]).await;
    stack.calls.update_one(doc! { "callId": "c" }, doc! { "$set": { "audio": other } }).await.unwrap();
    let error = loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the answer is complete"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    until("the log names the reason", async || stack.gateway.log().contains("content_changed").then_some(()))
        .await;
}

#[tokio::test]
async fn reading_without_a_worker_is_answered_no_worker() {
    let stack = TestStack::builder().without_worker().start().await;
    for path in ["", "/c", "/c/transcript", "/c/audio"] {
        let answer = get(&stack, &format!("{CALLS}{path}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "no_worker"), "{path}");
        let head = send(&stack, Method::HEAD, &format!("{CALLS}{path}"), &[]).await;
        assert_eq!((head.status, head.json()), (503, Value::Null), "{path}");
    }
}
