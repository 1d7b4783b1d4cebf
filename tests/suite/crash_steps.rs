//! A worker is killed between two steps of its work, and the next worker completes it. Nothing is lost or
//! done twice.
//!
//! A link between the worker and its servers recognises the step: it holds back the request that begins the
//! step, or the answer that ends it. Then the worker gets SIGKILL. The worker itself is unchanged.

use aftercall_common::contract::streams;
use aftercall_lab::link::{Link, Mode, Trap};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::harness::{TestStack, until_equal, within};

/// The link that carries a step.
#[derive(Clone, Copy, Debug)]
enum Over {
    Database,
    Broker,
}

/// Kills a worker at one step of processing `body`, and starts it again. Returns the stack and the links that
/// the worker uses.
async fn kill_at(over: Over, trap: Trap, body: &Value) -> (TestStack, [Link; 2]) {
    let mut stack = TestStack::builder().without_worker().start().await;
    let port = |url: String| -> u16 {
        let port = url.trim_end_matches("/?replicaSet=aftercall").rsplit(':').next().unwrap().to_owned();
        port.parse().unwrap()
    };
    let broker = Link::to(port(stack.nats.url())).await.unwrap();
    let database = Link::to(port(stack.mongo.uri())).await.unwrap();
    stack.worker_env("NATS_URL", &format!("nats://127.0.0.1:{}", broker.port()));
    // With a direct connection the driver does not connect to the address that the server reports, past the
    // link.
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", database.port());
    stack.worker_env("MONGODB_URI", &uri);
    stack.worker_env("ROLES", "status,transcripts");
    stack.add_worker().await;

    let link = match over {
        Over::Database => &database,
        Over::Broker => &broker,
    };
    let step = format!("the worker comes to {trap:?}");
    tokio::join!(within(&step, link.catch(trap)), stack.webhook(body));
    stack.workers[0].kill().await;
    link.set(Mode::Open);
    stack.expire_deliveries().await;
    stack.workers[0].restart().await;
    stack.workers[0].until_ready(&stack.http).await;
    (stack, [broker, database])
}

/// Waits for the result of one completed call, and checks that it is applied once.
async fn is_applied_once(stack: &TestStack, step: &str) {
    let call = stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    stack.all_acknowledged().await;
    assert_eq!(call.get_str("status").unwrap(), "completed", "{step}");
    // The webhook, and the conversation that the worker fetched.
    assert_eq!(call.get_array("history").unwrap().len(), 2, "{step}");
    assert_eq!(call.get_array("transcript").unwrap().len(), 5, "{step}");
    assert_eq!(stack.count(doc! {}).await, 1, "{step}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1, "{step}");
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0, "{step}");
}

#[tokio::test]
async fn worker_killed_at_any_step_of_an_event_applies_it_once() {
    let body = json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" });
    #[rustfmt::skip]
    let steps = [
        ("before the write",               Over::Database, Trap::Question(b"\x02update\0")),
        ("after the write",                Over::Database, Trap::Answer(b"\x02update\0")),
        ("before the job",                 Over::Broker,   Trap::Question(b"HPUB transcripts.due")),
        ("after the job",                  Over::Broker,   Trap::Answer(b"HPUB transcripts.due")),
        ("before the acknowledgement",     Over::Broker,   Trap::Question(b"$JS.ACK.WEBHOOKS.")),
        ("after the acknowledgement",      Over::Broker,   Trap::Answer(b"$JS.ACK.WEBHOOKS.")),
        ("before the job is acknowledged", Over::Broker,   Trap::Question(b"$JS.ACK.TRANSCRIPTS.")),
    ];
    let runs = steps.map(async |(step, over, trap)| {
        let (stack, _links) = kill_at(over, trap, &body).await;
        is_applied_once(&stack, step).await;
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn worker_killed_at_any_step_of_a_dead_letter_stores_it_once() {
    let body = json!({ "event_type": "call.vanished", "call_id": "c" });
    #[rustfmt::skip]
    let steps = [
        ("before the dead letter",       Trap::Question(b"HPUB dead-letters.status")),
        ("after the dead letter",        Trap::Answer(b"HPUB dead-letters.status")),
        ("before the termination", Trap::Question(b"$JS.ACK.WEBHOOKS.")),
    ];
    let runs = steps.map(async |(step, trap)| {
        let (stack, _links) = kill_at(Over::Broker, trap, &body).await;
        until_equal(step, 1, async || stack.stored(streams::DEAD_LETTERS).await).await;
        stack.all_acknowledged().await;
        let letter = stack.message(streams::DEAD_LETTERS, 1).await;
        assert_eq!(letter.payload, body.to_string().as_bytes(), "{step}");
        assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 1, "{step}");
        assert_eq!(stack.count(doc! {}).await, 0, "{step}");
    });
    futures_util::future::join_all(runs).await;
}
