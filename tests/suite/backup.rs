//! Backup and restore: the stream by a JetStream snapshot, the database from its files and from the stream,
//! the broker from its folder.

use std::{path::Path, process::Command};

use aftercall_common::contract::streams;
use aftercall_local::{mongod, nats, server::Server};
use async_nats::{Client, jetstream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::{
    Collection,
    bson::{Document, doc},
};
use serde_json::{Value, json};

use crate::harness::{TestStack, recently, servers, until_equal, within};

fn event(call: usize, event: &str) -> Value {
    json!({ "event_type": event, "call_id": format!("c{call:03}"), "timestamp": recently() + i64::try_from(call).unwrap() })
}

/// Posts the webhooks of these calls and waits until they are applied.
async fn calls(stack: &TestStack, numbers: std::ops::Range<usize>) {
    for n in numbers {
        for what in ["call.initiated", "call.ringing", "call.busy"] {
            stack.webhook(&event(n, what)).await;
        }
    }
    stack.all_acknowledged().await;
}

async fn documents(calls: &Collection<Document>) -> Vec<Document> {
    let found = calls.find(doc! {}).projection(doc! { "_id": 0, "revision": 0 }).sort(doc! { "callId": 1 });
    found.await.unwrap().try_collect().await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// Starts a mongod with the data in `folder`. Returns the server and its collection `agent_calls`.
async fn database(folder: &Path) -> (Server, Collection<Document>) {
    let options = mongod::Options { data: Some(folder.to_owned()), ..mongod::Options::default() };
    let server = servers::mongod(options).await;
    let client = mongodb::Client::with_uri_str(server.url()).await.unwrap();
    let calls = client.database("aftercall").collection("agent_calls");
    (server, calls)
}

#[tokio::test]
async fn database_is_restored_from_its_files_and_completed_from_the_stream() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backup) = (folder.path().join("live"), folder.path().join("backup"));
    std::fs::create_dir(&live).unwrap();
    let (mut server, at_first) = database(&live).await;
    let setup = TestStack::builder().without_worker().worker_env("MONGODB_DATABASE", "aftercall");
    let mut stack = setup.worker_env("MONGODB_URI", &server.url()).start().await;
    stack.add_worker().await;
    calls(&stack, 0..20).await;
    server.stop().await.unwrap();
    copy(&live, &backup);
    server.restart().await.unwrap();
    calls(&stack, 20..40).await;
    let whole = documents(&at_first).await;
    assert_eq!(whole.len(), 40);
    drop(server); // The files since the backup are lost.

    let (restored, calls) = database(&backup).await;
    assert_eq!(documents(&calls).await, whole[..20]);
    let uri = restored.url();
    let environment = [("MONGODB_URI", uri.as_str())];
    let (code, out, errors) = stack.command(&["replay"], &environment).await;
    assert_eq!((code, out.as_str()), (Some(0), "120 webhooks applied, 0 unreadable\n"), "{errors}");
    assert_eq!(documents(&calls).await, whole);

    // Without a backup, the same command restores everything from the stream.
    calls.clone().drop().await.unwrap();
    let (code, _, errors) = stack.command(&["replay"], &environment).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(documents(&calls).await, whole);
}

#[tokio::test]
async fn broker_restored_from_its_folder_still_detects_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let (live, backup) = (folder.path().join("live"), folder.path().join("backup"));
    std::fs::create_dir(&live).unwrap();
    let options = nats::Options { data: Some(live.clone()), ..nats::Options::default() };
    let mut stack = TestStack::builder().nats(options).start().await;
    calls(&stack, 0..20).await;
    stack.nats.stop().await.unwrap();
    copy(&live, &backup);
    let stored = documents(&stack.calls).await;

    let setup = TestStack::builder().nats(nats::Options { data: Some(backup), ..nats::Options::default() });
    let other = setup.start().await;
    assert_eq!(other.stored(streams::WEBHOOKS).await, 60);
    let again = other.webhook(&event(7, "call.ringing")).await;
    assert_eq!(again["duplicate"], true, "the restored broker knows the id: {again}");
    other.webhook(&event(99, "call.busy")).await;
    other.until_call("c099", doc! { "status": "busy" }).await;
    // The consumer continues at its position. A replay applies the earlier webhooks.
    let (code, _, errors) = other.command(&["replay"], &[]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(documents(&other.calls).await[..20], stored);
}

/// Takes a snapshot as `nats stream backup` does. Returns the description of the stream and the pieces of the
/// snapshot.
async fn snapshot(client: &Client, name: &str) -> (Value, Vec<bytes::Bytes>) {
    let inbox = client.new_inbox();
    let mut pieces = client.subscribe(inbox.clone()).await.unwrap();
    let wanted = json!({ "deliver_subject": inbox, "no_consumers": false, "chunk_size": 65536 });
    let subject = format!("$JS.API.STREAM.SNAPSHOT.{name}");
    let answer = client.request(subject, wanted.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    let mut taken = Vec::new();
    loop {
        let piece = within("a piece of the snapshot arrives", pieces.next()).await.unwrap();
        if let Some(reply) = piece.reply {
            client.publish(reply, "".into()).await.unwrap(); // Without a reply the server stops sending.
        }
        if piece.payload.is_empty() {
            return (answer, taken);
        }
        taken.push(piece.payload);
    }
}

/// Restores a snapshot as `nats stream restore` does.
async fn restore(client: &Client, name: &str, (whole, pieces): (Value, Vec<bytes::Bytes>)) {
    let wanted = json!({ "config": whole["config"], "state": whole["state"] });
    let subject = format!("$JS.API.STREAM.RESTORE.{name}");
    let answer = client.request(subject, wanted.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    let target = answer["deliver_subject"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    for piece in pieces {
        let taken = client.request(target.clone(), piece).await.unwrap();
        assert!(!taken.payload.starts_with(b"-ERR"), "{taken:?}");
    }
    let done = client.request(target, "".into()).await.unwrap();
    let done: Value = serde_json::from_slice(&done.payload).unwrap();
    assert!(done["error"].is_null(), "{done}");
}

#[tokio::test]
async fn stream_is_restored_from_a_snapshot_taken_during_writes() {
    let stack = TestStack::start().await;
    calls(&stack, 0..100).await;
    let client = async_nats::connect(stack.nats.url()).await.unwrap();
    let writing = calls(&stack, 100..110);
    let taken = tokio::join!(snapshot(&client, streams::WEBHOOKS), writing).0;
    let messages = taken.0["state"]["messages"].as_u64().unwrap();
    assert!((300..=330).contains(&messages), "{messages}");

    // On another broker, which has no streams.
    let other = servers::nats(nats::Options::default()).await;
    let client = async_nats::connect(other.url()).await.unwrap();
    restore(&client, streams::WEBHOOKS, taken).await;
    let context = jetstream::new(client);
    let restored = context.get_stream(streams::WEBHOOKS).await.unwrap();
    assert_eq!(restored.cached_info().state.messages, messages);
    streams::ensure(&context, 1).await.unwrap();
    let consumer: jetstream::consumer::PullConsumer =
        context.get_consumer_from_stream(streams::consumer::STATUS, streams::WEBHOOKS).await.unwrap();
    assert!(
        consumer.cached_info().ack_floor.stream_sequence > 0,
        "the snapshot contains the position of the consumer"
    );

    let uri = other.url();
    let vars = [("NATS_URL", uri.as_str()), ("MONGODB_DATABASE", "restored_stream")];
    let (code, out, errors) = stack.command(&["replay"], &vars).await;
    assert_eq!((code, out), (Some(0), format!("{messages} webhooks applied, 0 unreadable\n")), "{errors}");
    let rebuilt: Collection<Document> =
        stack.calls.client().database("restored_stream").collection("agent_calls");
    let wanted = documents(&stack.calls).await;
    until_equal("calls of the restored stream", wanted[..100].to_vec(), async || {
        documents(&rebuilt).await[..100].to_vec()
    })
    .await;
    let database = rebuilt.client().database("restored_stream");
    within("the database is dropped", async { database.drop().await }).await.unwrap();
}
