//! Webhooks that harm a worker: the worker applies its other webhooks, and a webhook that kills the worker
//! repeatedly becomes a dead letter. Outages make no dead letters.

use std::time::Duration;

use aftercall_common::contract::streams::{self, header};
use aftercall_lab::link::{Link, Mode, Trap};
use async_nats::jetstream::stream::Config;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, TestStack, until, until_equal, within};

/// Limit of the memory of a worker for accepted bodies of 32 MiB.
const MEMORY: u64 = 400 * 1024 * 1024;
/// Longest time until a webhook is applied that arrives while such a body is processed.
const MAX_DELAY: Duration = Duration::from_secs(6);

fn ringing(call: &str) -> Value {
    json!({ "event_type": "call.ringing", "call_id": call })
}

/// The reasons of the dead letters.
async fn dead_reasons(stack: &TestStack) -> Vec<String> {
    let count = stack.stored(streams::DEAD_LETTERS).await;
    let mut reasons = Vec::new();
    for sequence in 1..=count {
        let letter = stack.message(streams::DEAD_LETTERS, sequence).await;
        reasons.push(letter.headers.get(header::DEAD_REASON).unwrap().to_string());
    }
    reasons
}

/// Number of records of webhooks that are processed separately.
async fn suspects(stack: &TestStack) -> u64 {
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    database.collection::<Document>("suspect_webhooks").count_documents(doc! {}).await.unwrap()
}

/// Stores a webhook without the gateway, as an earlier version may have done.
async fn store(stack: &TestStack, subject: &'static str, body: String) {
    stack.jetstream.publish(subject, body.into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn webhook_that_repeatedly_kills_the_worker_becomes_a_dead_letter() {
    let mut stack = TestStack::builder().without_worker().start().await;
    let uri = stack.mongo.uri();
    let port = uri.trim_end_matches("/?replicaSet=aftercall").rsplit(':').next().unwrap().parse().unwrap();
    let database = Link::to(port).await.unwrap();
    let through = format!("mongodb://127.0.0.1:{}/?directConnection=true", database.port());
    stack.worker_env("MONGODB_URI", &through);
    stack.worker_env("ROLES", "status");
    stack.add_worker().await;
    // The worker is killed each time it is about to write this call. The other call is pulled together with
    // it.
    let killer = json!({ "event_type": "call.busy", "call_id": "CAkiller" });
    let both_posted = async {
        stack.webhook(&killer).await;
        stack.webhook(&ringing("CAother")).await;
    };
    let caught = within("the worker is about to write", database.catch(Trap::Question(b"CAkiller")));
    tokio::join!(caught, both_posted);
    let mut deaths = 0;
    loop {
        stack.workers[0].kill().await;
        database.set(Mode::Open);
        stack.expire_deliveries().await;
        deaths += 1;
        assert!(deaths < 14, "the webhook is never given up");
        stack.workers[0].restart().await;
        let is_caught = tokio::select! {
            () = database.catch(Trap::Question(b"CAkiller")) => true,
            () = until("the worker is about to write, or a dead letter is stored", async || {
                (stack.stored(streams::DEAD_LETTERS).await == 1).then_some(())
            }) => false,
        };
        if !is_caught {
            break;
        }
    }
    assert!((6..=10).contains(&deaths), "{deaths} deaths");
    assert_eq!(dead_reasons(&stack).await, ["kills_the_worker"]);
    let letter = stack.message(streams::DEAD_LETTERS, 1).await;
    assert_eq!(letter.payload, killer.to_string().as_bytes(), "the body is unchanged");
    stack.until_call("CAother", doc! { "status": "ringing" }).await;
    stack.all_acknowledged().await;
    until_equal("records of suspects", 0, async || suspects(&stack).await).await;
    stack.webhook(&ringing("CAlater")).await;
    stack.until_call("CAlater", doc! {}).await;
}

#[tokio::test]
async fn outages_with_many_deliveries_make_no_dead_letter() {
    let setup = TestStack::builder().own_mongod().worker_env("ROLES", "status");
    let mut stack = setup.start().await;
    // The worker creates missing streams at its start. It has started once this webhook is applied.
    stack.webhook(&ringing("CAfirst")).await;
    stack.until_call("CAfirst", doc! {}).await;
    // Without the stream of jobs no webhook with a due transcript can be acknowledged. The broker delivers it
    // every 2 s.
    stack.jetstream.delete_stream(streams::TRANSCRIPTS).await.unwrap();
    for n in 0..5 {
        let (call, conversation) = (format!("CA{n}"), format!("conv_{n}"));
        let body =
            json!({ "event_type": "call.completed", "call_id": call, "conversation_id": conversation });
        stack.webhook(&body).await;
    }
    let redelivered = async |least: u64| {
        until(&format!("{least} deliveries"), async || {
            let metrics = stack.workers[0].metrics(&stack.http).await;
            let line = metrics
                .lines()
                .find(|line| line.starts_with("aftercall_redeliveries_total{consumer=\"status\"}"))?;
            let count: u64 = line.rsplit(' ').next()?.parse().ok()?;
            (count >= least).then_some(())
        })
        .await;
    };
    redelivered(5 * 5).await;
    stack.mongo.process().kill().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await; // The time of the outage.
    stack.mongo.process().restart().await.unwrap();
    redelivered(5 * 8).await;
    // A stopping worker returns its messages, so that each restart adds one delivery.
    for _ in 0..3 {
        stack.workers[0].signal(aftercall_local::process::Signal::SIGTERM);
        stack.workers[0].ended().await;
        stack.workers[0].restart().await;
        stack.workers[0].until_ready(&stack.http).await;
    }
    let [_, transcripts, _] = streams::streams(1);
    stack.jetstream.create_stream(Config { ..transcripts }).await.unwrap();
    stack.all_acknowledged().await;
    assert_eq!(dead_reasons(&stack).await, Vec::<String>::new());
    assert_eq!(stack.count(doc! { "status": "completed" }).await, 5);
    assert_eq!(stack.stored(streams::TRANSCRIPTS).await, 5);
    assert_eq!(suspects(&stack).await, 0);
}

#[tokio::test]
async fn webhook_with_too_many_values_becomes_a_dead_letter_unparsed() {
    let stack = TestStack::builder().start().await;
    let arrays = format!(r#"{{"event_type":"call.ended","call_id":"c","a":[{}0]}}"#, "[],".repeat(300_000));
    store(&stack, streams::subject::ELEVENLABS_CALL_STATUS, arrays).await;
    let form = format!("CallSid=c&CallStatus=ringing{}", "&a=b".repeat(1000));
    store(&stack, streams::subject::TWILIO_CALL_STATUS, form).await;
    stack.webhook(&ringing("after")).await;
    stack.until_call("after", doc! {}).await;
    stack.all_acknowledged().await;
    assert_eq!(dead_reasons(&stack).await, ["too_complex", "too_complex"]);
    assert_eq!(stack.count(doc! { "callId": "c" }).await, 0);
}

#[tokio::test]
async fn bodies_of_32_mebibytes_neither_exhaust_memory_nor_delay_others() {
    let stack = TestStack::builder().start().await;
    let size = 32 * 1024 * 1024 - 200;
    let text = |length: usize| "x".repeat(length);
    let turns = |count: usize| {
        let turn = json!({ "role": "user", "message": text(size / count - 60) });
        json!({ "type": "post_call_transcription", "data":
            { "conversation_id": "conv_turns", "status": "done", "transcript": vec![turn; count] } })
    };
    let members = |count: usize| {
        let member = json!({ "": 0, "a": text(size / count - 30) });
        json!({ "event_type": "call.ended", "call_id": "CAmembers", "a": vec![member; count] })
    };
    let bodies = [
        json!({ "event_type": "call.ended", "call_id": "CAtext", "a": text(size - 100) }),
        json!({ "event_type": "call.ended", "call_id": "CAhalf", "a": text(14 * 1024 * 1024) }),
        turns(9000),
        members(80_000),
        json!({ "type": "post_call_audio", "data":
            { "conversation_id": "conv_audio", "full_audio": "A".repeat(size / 4 * 4 - 400) } }),
    ];
    let mut longest = Duration::ZERO;
    for (n, body) in bodies.iter().enumerate() {
        assert_eq!(stack.post_to(CALL_STATUS, body.to_string()).await.status, 200, "body {n}");
        // Other webhooks arrive while the body is processed.
        for k in 0..5 {
            let call = format!("CA{n}-{k}");
            stack.webhook(&ringing(&call)).await;
            let posted = std::time::Instant::now();
            stack.until_call(&call, doc! {}).await;
            let waited = posted.elapsed();
            assert!(waited < MAX_DELAY, "body {n}: another webhook waited {waited:?}");
            longest = longest.max(waited);
        }
    }
    stack.all_acknowledged().await;
    let peak = stack.workers[0].peak_resident();
    eprintln!("other webhooks waited {longest:?} at most; the worker needed {} MiB", peak / 1024 / 1024);
    assert!(peak < MEMORY, "{} MiB", peak / 1024 / 1024);
    assert_eq!(stack.count(doc! { "callId": "CAhalf", "status": "ended" }).await, 1);
}
