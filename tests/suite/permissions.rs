//! The users of `deploy/nats/users.conf`: each process can do all of its work as its own user, and no user
//! can do the work of another.

use aftercall_common::contract::{
    agent_calls::{PLACE_SUBJECT, STATUS_SUBJECT},
    streams,
};
use aftercall_local::nats::{User, UserPasswords};
use async_nats::{Client, ConnectOptions};
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    endpoints::{
        self,
        receiver::{Answer, Receiver},
    },
    harness::{CALL_STATUS, Service, TestStack, until, until_equal, within},
};

/// A client of the broker, and the errors that the broker reports to it.
struct BrokerClient {
    client: Client,
    errors: mpsc::UnboundedReceiver<String>,
}

impl BrokerClient {
    async fn connect(stack: &TestStack, users: &UserPasswords, user: User) -> Self {
        let (sender, errors) = mpsc::unbounded_channel();
        let options =
            ConnectOptions::with_user_and_password(user.name().to_owned(), users.password(user).to_owned())
                .custom_inbox_prefix(format!("_INBOX.{}", user.name()))
                .event_callback(move |event| {
                    let _closed = sender.send(event.to_string());
                    std::future::ready(())
                });
        Self { client: options.connect(stack.nats.url()).await.unwrap(), errors }
    }

    /// Waits until the broker refuses `subject`.
    async fn refused(&mut self, subject: &str) {
        self.client.flush().await.unwrap();
        let refusal = async {
            loop {
                let error = self.errors.recv().await.unwrap().to_lowercase();
                if error.contains("permissions violation") && error.contains(&subject.to_lowercase()) {
                    return;
                }
            }
        };
        within(&format!("the broker refuses {subject}"), refusal).await;
    }
}

/// Number of messages in each stream.
async fn message_counts(stack: &TestStack) -> Vec<u64> {
    let names = [streams::WEBHOOKS, streams::TRANSCRIPTS, streams::DEAD_LETTERS, streams::CALLS];
    join_all(names.map(async |name| stack.stored(name).await)).await
}

#[tokio::test]
async fn all_functions_work_with_the_shipped_users() {
    let users = UserPasswords::generate();
    let spool = tempfile::tempdir().unwrap();
    let setup = TestStack::builder().users(&users).gateway_env("SPOOL_DIR", spool.path().to_str().unwrap());
    let setup = setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let mut stack = setup.start().await;
    let known = async || stack.gateway.readiness(&stack.http).await.1["parts"]["stream"].clone();
    until_equal("the readiness of the streams", json!("ok"), known).await;

    // Single webhooks, and a batch of them.
    let busy = |n: usize| json!({ "event_type": "call.busy", "call_id": format!("CA{n}") }).to_string();
    let answers = join_all((0..60).map(|n| stack.post_to(CALL_STATUS, busy(n)))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    // A transcript.
    let completed =
        json!({ "event_type": "call.completed", "call_id": "CAtalk", "conversation_id": "conv_talk" });
    stack.webhook(&completed).await;
    stack.until_call("CAtalk", doc! { "transcriptState": "saved" }).await;
    // A large body, posted twice.
    let large = json!({ "event_type": "call.ended", "call_id": "CAlarge", "padding": "x".repeat(3_000_000) });
    stack.webhook(&large).await;
    assert_eq!(stack.webhook(&large).await["duplicate"], true);
    stack.until_call("CAlarge", doc! { "status": "ended" }).await;
    // Requests that the worker answers.
    let found = stack.lookup(json!({ "callSid": "CAtalk" })).await;
    assert_eq!((found.status, &found.body["status"]), (200, &json!("completed")), "{}", found.body);
    for path in ["", "/CAtalk", "/CAtalk/transcript"] {
        let read = stack.http.get(format!("{}/api/agent-calls{path}", stack.base));
        assert_eq!(read.send().await.unwrap().status(), 200, "{path}");
    }
    let silent = stack.http.get(format!("{}/api/agent-calls/CAtalk/audio", stack.base)).send().await.unwrap();
    assert_eq!(silent.json::<serde_json::Value>().await.unwrap()["code"], "no_recording");
    let order = json!({ "agentId": "a", "agentPhoneNumberId": "p", "toNumber": "+15005550001" });
    let placed = stack.post_to("/api/agent-calls", order.to_string()).await;
    assert_eq!(placed.status, 201, "{}", placed.body);
    // A dead letter, which is redriven and dropped.
    stack.webhook(&json!({ "event_type": "call.vanished", "call_id": "CAx" })).await;
    let letters = async || stack.stored(streams::DEAD_LETTERS).await;
    until_equal("dead letters", 1, letters).await;
    let (code, _, stderr) = stack.command(&["dead-letters", "replay", "--all"], &[]).await;
    assert_eq!(code, Some(0), "{stderr}");
    until_equal("dead letters after the redrive", 1, letters).await;
    let (code, _, stderr) = stack.command(&["dead-letters", "drop", "--all", "--yes"], &[]).await;
    assert_eq!((code, letters().await), (Some(0), 0), "{stderr}");
    // An event that an endpoint accepts at the second attempt.
    let receiver = Receiver::start(|n| Answer::status(if n == 0 { 500 } else { 200 })).await;
    endpoints::add(&stack, &receiver.url("/"), &["--types", "call.erased"]).await;
    let event = endpoints::publish(&stack, "call.erased", "CAevent", 1, json!({})).await;
    until_equal("the event is sent twice", vec![event.clone(), event], async || receiver.ids()).await;
    // Commands that read streams and remove messages and large bodies.
    let (code, said, stderr) = stack.command(&["replay"], &[]).await;
    assert!(code == Some(0) && said.contains("webhooks applied"), "{said}{stderr}");
    let (code, said, stderr) = stack.command(&["forget", "--call-id", "CAlarge", "--yes"], &[]).await;
    assert!(code == Some(0), "{said}{stderr}");
    assert_eq!(stack.count(doc! { "callId": "CAlarge" }).await, 0);
    // The spool.
    stack.nats.kill().await.unwrap();
    stack.gateway.until_part(&stack.http, "nats", "not connected").await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "CAspooled" })).await;
    stack.nats.restart().await.unwrap();
    stack.until_call("CAspooled", doc! { "status": "busy" }).await;
    for log in [stack.gateway.log(), stack.workers[0].log()] {
        let forbidden = log.lines().find(|line| line.to_lowercase().contains("permissions violation"));
        assert_eq!(forbidden, None);
    }
}

#[tokio::test]
async fn no_user_can_do_the_work_of_another() {
    let users = UserPasswords::generate();
    let stack = TestStack::builder().users(&users).start().await;
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "CA1" })).await;
    stack.until_call("CA1", doc! {}).await;
    stack.all_acknowledged().await;
    until_equal("outgoing events", 3, async || stack.stored(streams::CALLS).await).await;
    let before = message_counts(&stack).await;

    let streams = ["WEBHOOKS", "TRANSCRIPTS", "DEAD_LETTERS", "CALLS", "OBJ_WEBHOOK_BODIES"];
    let api = |what: &str| streams.map(|name| format!("$JS.API.STREAM.{what}.{name}")).to_vec();
    let text = |subjects: &[&str]| subjects.iter().map(|&subject| subject.to_owned()).collect::<Vec<_>>();
    let gateway = [
        api("PURGE"),
        api("DELETE"),
        api("UPDATE"),
        api("MSG.GET"),
        api("MSG.DELETE"),
        text(&[
            "$JS.API.CONSUMER.CREATE.WEBHOOKS",
            "$JS.API.CONSUMER.CREATE.WEBHOOKS.status.webhooks.>",
            "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.status",
            "$JS.API.CONSUMER.DELETE.WEBHOOKS.status",
            "$JS.API.DIRECT.GET.WEBHOOKS",
            "$JS.API.DIRECT.GET.OBJ_WEBHOOK_BODIES.$O.WEBHOOK_BODIES.C.x",
            "$JS.API.STREAM.CREATE.OTHER",
            "$JS.API.STREAM.LIST",
            "$JS.ACK.WEBHOOKS.status.1.1.1.1.1",
            streams::subject::RECONCILED,
            streams::subject::TRANSCRIPT_DUE,
            "transcripts.later.conv_1",
            "dead-letters.status",
            "calls.status",
            "_INBOX.gateway.x",
            "_INBOX.worker.x",
        ]),
    ]
    .concat();
    let worker = [
        api("DELETE"),
        api("PURGE").into_iter().filter(|subject| !subject.ends_with("BODIES")).collect(),
        text(&["$JS.API.STREAM.CREATE.OTHER", PLACE_SUBJECT, "webhooks.other", "_INBOX.worker.x"]),
    ]
    .concat();
    for (user, forbidden) in [(User::Gateway, gateway), (User::Worker, worker)] {
        let mut client = BrokerClient::connect(&stack, &users, user).await;
        for subject in forbidden {
            client.client.publish(subject.clone(), "{}".into()).await.unwrap();
            client.refused(&subject).await;
        }
        for subject in ["_INBOX.>", "webhooks.>", "dead-letters.>", "_INBOX.operator.>"] {
            let _subscription = client.client.subscribe(subject).await.unwrap();
            client.refused(subject).await;
        }
    }
    // A request names the subject of its answer. The worker answers to inboxes only.
    let asking = BrokerClient::connect(&stack, &users, User::Gateway).await;
    for reply in ["$JS.API.STREAM.PURGE.WEBHOOKS", "dead-letters.status", streams::subject::RECONCILED] {
        let question = r#"{"callSid":"CA1"}"#;
        asking.client.publish_with_reply(STATUS_SUBJECT, reply, question.into()).await.unwrap();
    }
    let answer = asking.client.request(STATUS_SUBJECT, r#"{"callSid":"CA1"}"#.into()).await.unwrap();
    assert!(!answer.payload.is_empty(), "the worker does not answer to an inbox");
    // The gateway receives neither requests nor answers of others.
    let mut gateway = BrokerClient::connect(&stack, &users, User::Gateway).await;
    for subject in [PLACE_SUBJECT, "_INBOX.worker.>", "$SRV.>"] {
        let _subscription = gateway.client.subscribe(subject).await.unwrap();
        gateway.refused(subject).await;
    }
    assert_eq!(message_counts(&stack).await, before);

    // The broker refuses connections without the right password.
    for options in
        [ConnectOptions::new(), ConnectOptions::with_user_and_password("worker".into(), "wrong".into())]
    {
        let refused = options.connect(stack.nats.url()).await.unwrap_err();
        assert!(refused.to_string().contains("authorization violation"), "{refused}");
    }
}

#[tokio::test]
async fn process_without_a_permission_names_the_file_of_users() {
    let users = UserPasswords::generate();
    let setup = TestStack::builder().users(&users).without_worker();
    let mut stack = setup.start().await;
    // A worker with the login of the gateway.
    let url = users.url_with_login(User::Gateway, &stack.nats.url());
    stack.worker_env("NATS_URL", &url);
    let (command, admin) = stack.worker_command();
    let worker = Service::start(command, admin).await;
    until("the log names the file of users", async || {
        let log = worker.log();
        log.lines()
            .find(|line| line.contains("deploy/nats/users.conf") && line.contains("ermissions"))
            .map(drop)
    })
    .await;
}
