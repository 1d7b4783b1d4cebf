//! Transcripts: workers fetch them, wait for them, or give them up with a reason.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_lab::link::{Link, Mode};
use aftercall_local::simulator::Answer;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{TestStack, recently, until, until_equal};

const RETRY_AFTER: Option<Duration> = Some(Duration::from_secs(1));

#[tokio::test]
async fn transcript_is_fetched_after_not_found_and_rate_limits() {
    let stack = TestStack::start().await;
    let course = [
        Answer::NotFound,
        Answer::Processing,
        Answer::RateLimited { retry_after: RETRY_AFTER },
        Answer::Done,
    ];
    stack.simulator.script("v", course);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "transcriptState": "owed" }).await;
    let call = stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    assert!(!call.get_array("transcript").unwrap().is_empty());
    assert_eq!(stack.simulator.request_count("v"), 4, "one request for each answer");
    let requests = stack.simulator.requests();
    assert!(requests[3].at - requests[2].at >= Duration::from_secs(1), "Retry-After is obeyed");
}

#[tokio::test]
async fn broken_connection_is_retried_at_once() {
    let stack = TestStack::start().await;
    stack.simulator.script("v", [Answer::Reset, Answer::Garbage, Answer::Done]);
    stack.webhook(&json!({ "event_type": "call.ended", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    let metrics = stack.workers[0].metrics(&stack.http).await;
    assert!(
        metrics.contains("aftercall_transcripts_total{outcome=\"waiting\"} 0\n"),
        "a job was postponed: {metrics}"
    );
}

#[tokio::test]
async fn transcript_is_fetched_once_the_conversation_is_known() {
    let stack = TestStack::start().await;
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c" })).await;
    stack.until_call("c", doc! { "transcriptState": "owed" }).await;
    stack.webhook(&json!({ "event_type": "call.ringing", "call_id": "c", "conversation_id": "v" })).await;
    stack.until_call("c", doc! { "transcriptState": "saved", "conversationId": "v" }).await;
}

#[tokio::test]
async fn transcript_saved_in_the_meantime_is_not_replaced() {
    let mut stack = TestStack::builder().without_worker().start().await;
    let port = stack.simulator.base_url().rsplit(':').next().unwrap().parse().unwrap();
    let link = Link::to(port).await.unwrap();
    link.set(Mode::AnswersCut);
    stack.worker_env("ELEVENLABS_BASE_URL", &format!("http://127.0.0.1:{}", link.port()));
    stack.add_worker().await;
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    until("the transcript is requested", async || (stack.simulator.request_count("v") == 1).then_some(()))
        .await;
    let transcript_of_webhook =
        json!([{ "role": "user", "message": "as the webhook has it", "time_in_call_secs": 1 }]);
    stack
        .webhook(&json!({ "type": "post_call_transcription", "event_timestamp": recently(), "data": {
            "conversation_id": "v", "status": "done", "transcript": transcript_of_webhook,
        } }))
        .await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    link.set(Mode::Open);
    until_equal("transcript jobs", Some((0, 0)), async || stack.jobs().await).await;
    let transcript = stack.lookup(json!({ "callSid": "c" })).await.body["transcript"].clone();
    assert_eq!(transcript, transcript_of_webhook);
}

#[tokio::test]
async fn unavailable_transcript_is_given_up_with_a_reason() {
    let stack = TestStack::builder().worker_env("TRANSCRIPT_GIVE_UP_AFTER", "1s").start().await;
    #[rustfmt::skip]
    let table = [
        ("failed",  vec![Answer::Failed],      "the conversation failed"),
        ("refused", vec![Answer::Status(422)], "refuses this conversation"),
        ("never",   vec![Answer::NotFound],    "given up after"),
        ("huge",    vec![Answer::Huge(9 << 20)], "larger than can be stored"),
    ];
    for (id, course, _) in &table {
        stack.simulator.script(*id, course.iter().copied());
        stack.webhook(&json!({ "event_type": "call.completed", "call_id": id, "conversation_id": id })).await;
    }
    for (id, _, reason) in table {
        let call = stack.until_call(id, doc! { "transcriptState": "unavailable" }).await;
        assert!(call.get_str("_transcriptError").unwrap().contains(reason), "{id}: {call}");
        let status = if id == "failed" { "failed" } else { "completed" };
        assert_eq!(call.get_str("status").unwrap(), status);
    }
}

#[tokio::test]
async fn refused_key_pauses_all_requests_and_is_logged() {
    let stack = TestStack::start().await;
    stack.simulator.refuse_key(true);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c0", "conversation_id": "v0" })).await;
    until("the refused key is logged", async || {
        stack.workers[0].log().contains("ELEVENLABS_API_KEY is refused").then_some(())
    })
    .await;
    for n in 1..20 {
        let body = json!({ "event_type": "call.completed", "call_id": format!("c{n}"), "conversation_id": format!("v{n}") });
        stack.webhook(&body).await;
    }
    stack.all_acknowledged().await;
    tokio::time::sleep(Duration::from_secs(1)).await; // Time in which a wrong worker would send requests.
    assert_eq!(
        stack.count(doc! { "transcriptState": "owed" }).await,
        20,
        "the transcripts are due, not given up"
    );
    // Jobs that were running when the key was refused may have sent a request. Later jobs send none.
    assert!(stack.simulator.requests().len() <= 8, "{}", stack.simulator.requests().len());
}

#[tokio::test]
async fn one_refused_conversation_stops_no_other() {
    let stack = TestStack::start().await;
    for (id, status) in [("v403", 403), ("v402", 402), ("v401", 401)] {
        stack.simulator.script(id, [Answer::Status(status)]);
        let body = json!({ "event_type": "call.completed", "call_id": id, "conversation_id": id });
        stack.webhook(&body).await;
    }
    let refused = stack.until_call("v403", doc! { "transcriptState": "unavailable" }).await;
    assert!(refused.get_str("_transcriptError").unwrap().contains("403"), "{refused}");
    for id in ["c1", "c2"] {
        let conversation = format!("v{id}");
        let body = json!({ "event_type": "call.completed", "call_id": id, "conversation_id": conversation });
        stack.webhook(&body).await;
        stack.until_call(id, doc! { "transcriptState": "saved" }).await;
    }
    // The worker repeats requests that were refused for a missing payment or permission.
    stack.simulator.script("v402", [Answer::Done]);
    stack.simulator.script("v401", [Answer::Done]);
    for id in ["v402", "v401"] {
        stack.until_call(id, doc! { "transcriptState": "saved" }).await;
    }
    let log = stack.workers[0].log();
    assert!(!log.contains("ELEVENLABS_API_KEY is refused") && log.contains("refuses one request"), "{log}");
}

#[tokio::test]
async fn jobs_survive_a_restart_of_worker_and_broker() {
    let mut stack = TestStack::start().await;
    stack.simulator.script("v", [Answer::NotFound, Answer::NotFound, Answer::Done]);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    until("the first request", async || (stack.simulator.request_count("v") >= 1).then_some(())).await;
    stack.workers[0].kill().await;
    stack.nats.kill().await.unwrap();
    stack.nats.restart().await.unwrap();
    stack.workers[0].restart().await;
    stack.until_call("c", doc! { "transcriptState": "saved" }).await;
}

#[tokio::test]
async fn a_job_that_waits_is_not_restored_and_a_lost_one_is() {
    let mut stack = TestStack::start().await;
    for id in ["waits", "lost"] {
        stack.simulator.script(id, [Answer::NotFound]);
        stack.webhook(&json!({ "event_type": "call.completed", "call_id": id, "conversation_id": id })).await;
    }
    let jobs = stack.jetstream.get_stream(streams::TRANSCRIPTS).await.unwrap();
    for id in ["waits", "lost"] {
        // The sixth request is due at least 24 s after the fifth.
        until("five requests, and the next job", async || {
            let job =
                jobs.get_last_raw_message_by_subject(&streams::subject::transcript_later(id)).await.ok()?;
            String::from_utf8_lossy(&job.payload).contains(r#""attempt":5"#).then_some(())
        })
        .await;
    }
    stack.workers[0].kill().await;
    // The broker still knows the id of the first job.
    jobs.purge().filter(streams::subject::transcript_later("lost")).await.unwrap();
    stack.workers[0].restart().await;
    until("the lost job is restored", async || (stack.simulator.request_count("lost") == 6).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stack.simulator.request_count("waits"), 5);
}

#[tokio::test]
async fn invalid_job_becomes_a_dead_letter() {
    let stack = TestStack::start().await;
    let garbage = b"{\"conversationId\":\"../agents\"}".to_vec();
    stack.jetstream.publish(streams::subject::TRANSCRIPT_DUE, garbage.into()).await.unwrap().await.unwrap();
    until_equal("dead letters", 1, async || stack.stored(streams::DEAD_LETTERS).await).await;
    let letter = stack.message(streams::DEAD_LETTERS, 1).await;
    assert_eq!(letter.headers.get(streams::header::DEAD_REASON).unwrap().as_str(), "invalid_job");
}

#[tokio::test]
async fn transcript_without_a_conversation_is_given_up() {
    let mut stack = TestStack::builder().worker_env("TRANSCRIPT_GIVE_UP_AFTER", "1s").start().await;
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c" })).await;
    stack.until_call("c", doc! { "transcriptState": "owed" }).await;
    tokio::time::sleep(Duration::from_millis(1100)).await; // The time after which the transcript is given up.
    stack.workers[0].kill().await;
    stack.workers[0].restart().await; // The worker checks due transcripts at its start and every ten minutes.
    let call = stack.until_call("c", doc! { "transcriptState": "unavailable" }).await;
    assert!(call.get_str("_transcriptError").unwrap().contains("never became known"));
}
