//! Webhooks that are hard on a worker: it survives them, its other webhooks are applied, and one that ends the
//! process again and again becomes a dead letter. An outage makes no dead letter.

use std::time::Duration;

use aftercall_common::contract::streams::{self, header};
use aftercall_lab::link::{Link, Mode, Trap};
use async_nats::jetstream::stream::Config;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::harness::{CALL_STATUS, Setup, Stack, until, until_equal};

/// What a worker may take for any accepted body of 32 MiB.
const MEMORY: u64 = 400 * 1024 * 1024;
/// Longest the neighbours of such a body may wait.
const WAIT: Duration = Duration::from_secs(2);

fn ringing(call: &str) -> Value {
    json!({ "event_type": "call.ringing", "call_id": call })
}

/// The dead letters there are: reason and origin id.
async fn letters(stack: &Stack) -> Vec<String> {
    let count = stack.stored(streams::DEAD_LETTERS).await;
    let mut reasons = Vec::new();
    for sequence in 1..=count {
        let letter = stack.message(streams::DEAD_LETTERS, sequence).await;
        reasons.push(letter.headers.get(header::DEAD_REASON).unwrap().to_string());
    }
    reasons
}

/// The records of webhooks that are worked on apart.
async fn suspects(stack: &Stack) -> u64 {
    let database = stack.calls.client().database(&stack.calls.namespace().db);
    database.collection::<Document>("suspect_webhooks").count_documents(doc! {}).await.unwrap()
}

/// Puts a webhook into the stream past the gateway, as an earlier version may have stored it.
async fn store(stack: &Stack, subject: &'static str, body: String) {
    stack.jetstream.publish(subject, body.into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_ends_the_worker_again_and_again_becomes_a_dead_letter() {
    let mut stack = Setup::default().without_worker().start().await;
    let uri = stack.mongo.uri();
    let port = uri.trim_end_matches("/?replicaSet=aftercall").rsplit(':').next().unwrap().parse().unwrap();
    let database = Link::to(port).await.unwrap();
    let through = format!("mongodb://127.0.0.1:{}/?directConnection=true", database.port());
    stack.worker_env("MONGODB_URI", &through);
    stack.worker_env("ROLES", "status");
    stack.add_worker().await;
    // Whenever the worker comes to write this call it is killed. Its neighbour was pulled together with it.
    let killer = json!({ "event_type": "call.busy", "call_id": "CAkiller" });
    stack.webhook(&killer).await;
    stack.webhook(&ringing("CAneighbour")).await;
    let mut deaths = 0;
    loop {
        let trapped = tokio::select! {
            () = database.catch(Trap::Question(b"CAkiller")) => true,
            () = until("a death or a dead letter", async || {
                (stack.stored(streams::DEAD_LETTERS).await == 1).then_some(())
            }) => false,
        };
        if !trapped {
            break;
        }
        stack.workers[0].kill().await;
        database.set(Mode::Open);
        deaths += 1;
        assert!(deaths < 14, "it is never given up");
        stack.workers[0].restart().await;
        stack.workers[0].until_ready(&stack.http).await;
    }
    assert!((6..=10).contains(&deaths), "{deaths} deaths");
    assert_eq!(letters(&stack).await, ["kills_the_worker"]);
    let letter = stack.message(streams::DEAD_LETTERS, 1).await;
    assert_eq!(letter.payload, killer.to_string().as_bytes(), "the body is unchanged");
    stack.until_call("CAneighbour", doc! { "status": "ringing" }).await;
    stack.settled().await;
    until_equal("records of suspects", 0, async || suspects(&stack).await).await;
    stack.webhook(&ringing("CAlater")).await;
    stack.until_call("CAlater", doc! {}).await;
}

#[tokio::test]
async fn outages_with_many_deliveries_make_no_dead_letter() {
    let setup = Setup::default().own_mongod().worker_env("ROLES", "status");
    let mut stack = setup.start().await;
    // The worker makes missing streams when it begins to consume, which it has once this is applied.
    stack.webhook(&ringing("CAfirst")).await;
    stack.until_call("CAfirst", doc! {}).await;
    // Without the stream of jobs nothing that is owed a transcript can be acknowledged: it is delivered every 2 s.
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
    tokio::time::sleep(Duration::from_secs(5)).await; // An outage has a length.
    stack.mongo.process().restart().await.unwrap();
    redelivered(5 * 8).await;
    // Each restart hands everything back, which is one delivery more.
    for _ in 0..3 {
        stack.workers[0].signal(aftercall_local::process::Signal::SIGTERM);
        stack.workers[0].ended().await;
        stack.workers[0].restart().await;
        stack.workers[0].until_ready(&stack.http).await;
    }
    let [_, transcripts, _] = streams::streams(1);
    stack.jetstream.create_stream(Config { ..transcripts }).await.unwrap();
    stack.settled().await;
    assert_eq!(letters(&stack).await, Vec::<String>::new());
    assert_eq!(stack.count(doc! { "status": "completed" }).await, 5);
    assert_eq!(stack.stored(streams::TRANSCRIPTS).await, 5);
    assert_eq!(suspects(&stack).await, 0);
}

#[tokio::test]
async fn a_webhook_with_too_many_values_is_a_dead_letter_without_being_parsed() {
    let stack = Setup::default().start().await;
    let arrays = format!(r#"{{"event_type":"call.ended","call_id":"c","a":[{}0]}}"#, "[],".repeat(300_000));
    store(&stack, streams::subject::ELEVENLABS_CALL_STATUS, arrays).await;
    let form = format!("CallSid=c&CallStatus=ringing{}", "&a=b".repeat(1000));
    store(&stack, streams::subject::TWILIO_CALL_STATUS, form).await;
    stack.webhook(&ringing("after")).await;
    stack.until_call("after", doc! {}).await;
    stack.settled().await;
    assert_eq!(letters(&stack).await, ["too_complex", "too_complex"]);
    assert_eq!(stack.count(doc! { "callId": "c" }).await, 0);
}

#[tokio::test]
async fn bodies_of_32_mebibytes_leave_memory_and_time_to_the_others() {
    let stack = Setup::default().start().await;
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
    for (n, body) in bodies.iter().enumerate() {
        assert_eq!(stack.post_to(CALL_STATUS, body.to_string()).await.status, 200, "body {n}");
        // Neighbours that come while it is worked on.
        for k in 0..5 {
            let call = format!("CA{n}-{k}");
            stack.webhook(&ringing(&call)).await;
            let posted = std::time::Instant::now();
            stack.until_call(&call, doc! {}).await;
            assert!(posted.elapsed() < WAIT * 3, "body {n}: a neighbour waited {:?}", posted.elapsed());
        }
    }
    stack.settled().await;
    let peak = stack.workers[0].peak_resident();
    assert!(peak < MEMORY, "{} MiB", peak / 1024 / 1024);
    assert_eq!(stack.count(doc! { "callId": "CAhalf", "status": "ended" }).await, 1);
}
