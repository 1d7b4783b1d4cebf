//! `RECORDINGS=fetch`: the worker fetches recordings that no webhook brings.

use aftercall_common::contract::streams;
use aftercall_local::simulator::AudioAnswer;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde_json::json;

use crate::harness::{TestStack, until, until_equal};

/// Bytes of a recording that needs no time.
const SMALL: AudioAnswer = AudioAnswer::Slow { bytes: 5000, per_second: 10_000_000 };

fn files(stack: &TestStack) -> Collection<Document> {
    stack.calls.client().database(&stack.calls.namespace().db).collection("recordings.files")
}

/// Posts the webhook with the transcript of a conversation.
async fn transcribed(stack: &TestStack, id: &str, has_audio: bool) {
    let data = json!({
        "agent_id": "a", "conversation_id": id, "status": "done", "has_audio": has_audio,
        "transcript": [{ "role": "user", "message": "hello" }],
    });
    stack.webhook(&json!({ "type": "post_call_transcription", "data": data })).await;
}

/// Posts the webhook with the recording of a conversation.
async fn recorded(stack: &TestStack, id: &str) {
    let audio = BASE64_STANDARD.encode([7; 3000]);
    let data = json!({ "agent_id": "a", "conversation_id": id, "full_audio": audio });
    stack.webhook(&json!({ "type": "post_call_audio", "data": data })).await;
}

/// Waits for the state of a recording, and returns its document.
async fn until_state(stack: &TestStack, id: &str, state: &str) -> Document {
    stack.document(doc! { "conversationId": id, "recordingState": state }).await
}

#[tokio::test]
async fn recording_without_a_webhook_is_fetched_and_stored_once() {
    let stack = TestStack::builder().worker_env("RECORDINGS", "fetch").start().await;
    let (bytes, length) = (1_500_000, 1_500_000_i64);
    let scripts: [(&str, &[AudioAnswer]); 6] = [
        // Takes 13 seconds, more than a request without progress may take.
        ("slow", &[AudioAnswer::Slow { bytes, per_second: 115_000 }]),
        ("late", &[AudioAnswer::Status(404), AudioAnswer::Status(500), SMALL]),
        ("stalled", &[AudioAnswer::Stall { bytes: 100_000 }, SMALL]),
        ("refused", &[AudioAnswer::Status(422)]),
        ("both", &[SMALL]),
        ("replaced", &[SMALL]),
    ];
    for (id, answers) in scripts {
        stack.simulator.script_audio(id, answers.iter().copied());
        transcribed(&stack, id, true).await;
    }
    recorded(&stack, "both").await;
    transcribed(&stack, "silent", false).await;

    let fetched = async |id: &'static str, bytes: i64| {
        let call = until_state(&stack, id, "saved").await;
        let audio = call.get_document("audio").unwrap();
        let file = format!("fetched-{id}");
        assert_eq!(
            (audio.get_str("fileId").unwrap(), audio.get_i64("bytes").unwrap()),
            (file.as_str(), bytes)
        );
        let file = files(&stack).find_one(doc! { "_id": file }).await.unwrap().unwrap();
        assert_eq!(file.get_i64("length").unwrap(), bytes, "{file}");
    };
    tokio::join!(fetched("slow", length), fetched("late", 5000), fetched("stalled", 5000));
    assert_eq!(stack.simulator.audio_request_count("slow"), 1);
    assert_eq!(stack.simulator.audio_request_count("late"), 3);
    let refused = until_state(&stack, "refused", "unavailable").await;
    assert!(refused.get_str("_recordingError").unwrap().contains("422"), "{refused}");

    // The webhook brings the recording after all, before and after the worker has fetched it.
    let of_webhook = async |id: &'static str| {
        let call = until_state(&stack, id, "saved").await;
        call.get_document("audio").unwrap().get_str("fileId").unwrap().to_owned()
    };
    let both = of_webhook("both").await;
    assert_eq!((both == "fetched-both", stack.simulator.audio_request_count("both")), (false, 0));
    assert_eq!(of_webhook("replaced").await, "fetched-replaced");
    recorded(&stack, "replaced").await;
    recorded(&stack, "refused").await;
    until_equal("files of replaced recordings", 0, async || {
        files(&stack).count_documents(doc! { "_id": "fetched-replaced" }).await.unwrap()
    })
    .await;
    assert_ne!(of_webhook("replaced").await, "fetched-replaced");
    until_state(&stack, "refused", "saved").await;
    let silent = stack.document(doc! { "conversationId": "silent" }).await;
    assert!(!silent.contains_key("recordingState") && !silent.contains_key("audio"), "{silent}");
    until_equal("files", 6, async || files(&stack).count_documents(doc! {}).await.unwrap()).await;
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0);

    for id in ["slow", "replaced"] {
        let (code, _, errors) = stack.command(&["forget", "--call-id", id, "--yes"], &[]).await;
        assert_eq!(code, Some(0), "{errors}");
    }
    until_equal("files", 4, async || files(&stack).count_documents(doc! {}).await.unwrap()).await;
}

#[tokio::test]
async fn recording_of_a_call_that_a_lookup_found_is_fetched() {
    let stack = TestStack::builder().worker_env("RECORDINGS", "fetch").start().await;
    let id = "unheard";
    stack.simulator.script_audio(id, [SMALL]);
    let answer = stack.lookup(json!({ "conversation_id": id })).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("completed")), "{}", answer.body);
    until_state(&stack, id, "saved").await;
}

#[tokio::test]
async fn second_job_of_a_recording_waits_until_the_first_has_written_it() {
    let stack = TestStack::builder().worker_env("RECORDINGS", "fetch").start().await;
    let (id, bytes) = ("twice", 1_200_000);
    stack.simulator.script_audio(id, [AudioAnswer::Slow { bytes, per_second: 400_000 }]);
    transcribed(&stack, id, true).await;
    until("the first request", async || (stack.simulator.audio_request_count(id) == 1).then_some(())).await;
    for n in 0..4 {
        let job = json!({ "conversationId": id, "attempt": 0, "kind": "recording" }).to_string();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("second:{n}"));
        let due = streams::subject::TRANSCRIPT_DUE;
        stack.jetstream.publish_with_headers(due, headers, job.into()).await.unwrap().await.unwrap();
    }
    let call = until_state(&stack, id, "saved").await;
    assert_eq!(stack.simulator.audio_request_count(id), 1);
    let audio = call.get_document("audio").unwrap();
    assert_eq!(audio.get_i64("bytes").unwrap(), i64::try_from(bytes).unwrap());
    let file =
        files(&stack).find_one(doc! { "_id": audio.get_str("fileId").unwrap() }).await.unwrap().unwrap();
    let chunks = stack
        .calls
        .client()
        .database(&stack.calls.namespace().db)
        .collection::<Document>("recordings.chunks");
    let stored = chunks.count_documents(doc! { "files_id": file.get_str("_id").unwrap() }).await.unwrap();
    assert_eq!(stored, (bytes as u64).div_ceil(u64::try_from(file.get_i32("chunkSize").unwrap()).unwrap()));
    assert!(!call.contains_key("_recordingWriter"), "{call}");
}

#[tokio::test]
async fn recording_that_never_comes_is_given_up() {
    let stack = TestStack::builder()
        .worker_env("RECORDINGS", "fetch")
        .worker_env("TRANSCRIPT_GIVE_UP_AFTER", "1s")
        .start()
        .await;
    stack.simulator.script_audio("v", [AudioAnswer::Status(404)]);
    transcribed(&stack, "v", true).await;
    let call = until_state(&stack, "v", "unavailable").await;
    let reason = call.get_str("_recordingError").unwrap();
    assert!(reason.contains("given up after") && reason.contains("no recording yet"), "{reason}");
}

#[tokio::test]
async fn recording_is_not_fetched_by_default() {
    let stack = TestStack::start().await;
    stack.simulator.script_audio("v", [SMALL]);
    transcribed(&stack, "v", true).await;
    stack.document(doc! { "conversationId": "v" }).await;
    stack.all_acknowledged().await;
    assert_eq!(stack.stored(streams::TRANSCRIPTS).await, 0, "a job was stored");
}

#[tokio::test]
async fn lost_job_of_a_recording_that_was_tried_before_is_restored() {
    let mut stack = TestStack::builder().worker_env("RECORDINGS", "fetch").start().await;
    let (id, missing) = ("lost", AudioAnswer::Status(404));
    stack.simulator.script_audio(id, [missing, missing, missing, SMALL]);
    transcribed(&stack, id, true).await;
    let jobs = stack.jetstream.get_stream(streams::TRANSCRIPTS).await.unwrap();
    let later = streams::subject::recording_later(id);
    // The fourth request is due at least 6 s after the third.
    until("three requests, and the next job", async || {
        let job = jobs.get_last_raw_message_by_subject(&later).await.ok()?;
        String::from_utf8_lossy(&job.payload).contains(r#""attempt":3"#).then_some(())
    })
    .await;
    stack.workers[0].kill().await;
    jobs.purge().filter(later).await.unwrap();
    stack.workers[0].restart().await;
    until_state(&stack, id, "saved").await;
    assert_eq!(stack.simulator.audio_request_count(id), 4);
}
