//! A worker is killed between any two steps of its work, and another one ends what it began: nothing is lost,
//! nothing is done twice.
//!
//! The steps are told apart from outside: a link holds back the very question that begins a step, or the
//! answer that ends it; then the worker gets SIGKILL. So the worker is the one that ships.

use aftercall_common::contract::streams;
use aftercall_lab::link::{Link, Mode, Trap};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::harness::{Setup, Stack, until_equal};

/// Which link the step goes over.
#[derive(Clone, Copy, Debug)]
enum Over {
    Database,
    Broker,
}

/// Lets a worker come to one step of what `body` asks of it, kills it there, and starts another. The links are
/// what that one talks over.
async fn die(over: Over, trap: Trap, body: &Value) -> (Stack, [Link; 2]) {
    let mut stack = Setup::default().without_worker().start().await;
    let port = |url: String| -> u16 {
        let port = url.trim_end_matches("/?replicaSet=aftercall").rsplit(':').next().unwrap().to_owned();
        port.parse().unwrap()
    };
    let broker = Link::to(port(stack.nats.url())).await.unwrap();
    let database = Link::to(port(stack.mongo.uri())).await.unwrap();
    stack.worker_env("NATS_URL", &format!("nats://127.0.0.1:{}", broker.port()));
    // Direct, lest the driver goes around the link to the address the server has of itself.
    let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", database.port());
    stack.worker_env("MONGODB_URI", &uri);
    stack.worker_env("ROLES", "status,transcripts");
    stack.add_worker().await;

    let link = match over {
        Over::Database => &database,
        Over::Broker => &broker,
    };
    let caught = async {
        tokio::time::timeout(crate::harness::PATIENCE, link.catch(trap))
            .await
            .unwrap_or_else(|_| panic!("the worker never came to {trap:?}"));
    };
    tokio::join!(caught, stack.webhook(body));
    stack.workers[0].kill().await;
    link.set(Mode::Open);
    stack.workers[0].restart().await;
    stack.workers[0].until_ready(&stack.http).await;
    (stack, [broker, database])
}

/// What a call that was completed must come to, whatever happened on the way.
async fn is_applied_once(stack: &Stack, step: &str) {
    let call = stack.until_call("c", doc! { "transcriptState": "saved" }).await;
    stack.settled().await;
    assert_eq!(call.get_str("status").unwrap(), "completed", "{step}");
    assert_eq!(call.get_array("history").unwrap().len(), 1, "{step}");
    assert_eq!(call.get_array("transcript").unwrap().len(), 5, "{step}");
    assert_eq!(stack.count(doc! {}).await, 1, "{step}");
    assert_eq!(stack.stored(streams::WEBHOOKS).await, 1, "{step}");
    assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 0, "{step}");
}

#[tokio::test]
async fn a_worker_killed_at_any_step_of_an_event_leaves_it_to_the_next() {
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
        let (stack, _links) = die(over, trap, &body).await;
        is_applied_once(&stack, step).await;
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn a_worker_killed_at_any_step_of_a_burial_buries_once() {
    let body = json!({ "event_type": "call.vanished", "call_id": "c" });
    #[rustfmt::skip]
    let steps = [
        ("before the grave",       Trap::Question(b"HPUB dead-letters.status")),
        ("after the grave",        Trap::Answer(b"HPUB dead-letters.status")),
        ("before the termination", Trap::Question(b"$JS.ACK.WEBHOOKS.")),
    ];
    let runs = steps.map(async |(step, trap)| {
        let (stack, _links) = die(Over::Broker, trap, &body).await;
        until_equal(step, 1, async || stack.stored(streams::DEAD_LETTERS).await).await;
        stack.settled().await;
        let buried = stack.message(streams::DEAD_LETTERS, 1).await;
        assert_eq!(buried.payload, body.to_string().as_bytes(), "{step}");
        assert_eq!(stack.stored(streams::DEAD_LETTERS).await, 1, "{step}");
        assert_eq!(stack.count(doc! {}).await, 0, "{step}");
    });
    futures_util::future::join_all(runs).await;
}
