//! Restarts without a lost request.

use std::{net::TcpListener, sync::Arc, time::Duration};

use aftercall_lab::rolling::{self, Run};
use aftercall_local::{
    ports,
    process::{Process, Signal},
};
use serde_json::json;
use tokio::net::UnixDatagram;

use crate::harness::{CALL_STATUS, Service, TestStack, launcher, scaled, test_timeout, until};

/// Webhooks a second: a tenth of the rate of `cargo lab rolling`, because other tests run at the same time.
const RATE: f64 = 200.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_and_workers_are_replaced_under_load_without_a_failed_request() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run { rate: RATE, rounds: 3, other: None, folder: folder.path().to_owned() };
    let outcome = rolling::quietly(&launcher(), &run).await.unwrap();
    assert_eq!(outcome.replaced, 12);
    assert!(outcome.is_good(), "{}", outcome.table());
    assert!(outcome.answers.webhooks > 1000 && outcome.answers.lookups > 50, "{}", outcome.table());
}

/// Starts a gateway on `socket`. Does not wait until it is ready.
async fn gateway(socket: &Arc<TcpListener>, vars: &[(&str, &str)]) -> (Process, tempfile::TempDir) {
    let logs = tempfile::tempdir().unwrap();
    let vars: Vec<_> = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let command = Service::command("gateway", logs.path(), &vars).socket(socket.clone());
    (launcher().spawn(&command).await.unwrap(), logs)
}

#[tokio::test]
async fn inherited_socket_keeps_connections_between_two_gateways() {
    let stack = TestStack::builder().without_worker().start().await;
    let socket = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}{CALL_STATUS}", socket.local_addr().unwrap());
    let body = |n: usize| json!({ "event_type": "call.busy", "call_id": format!("c{n}") }).to_string();
    let post = async |n: usize| {
        stack.http.post(&url).body(body(n)).send().await.map(|answer| answer.status().as_u16())
    };
    let nats = stack.nats.url();
    let vars = [("NATS_URL", nats.as_str()), ("ADMIN_ADDR", "127.0.0.1:0"), ("LISTEN_ADDR", "127.0.0.1:1")];
    let (mut first, _logs) = gateway(&socket, &vars).await;
    assert_eq!(post(1).await.unwrap(), 200);
    first.signal(Signal::SIGTERM).unwrap();
    first.wait(test_timeout()).await.unwrap();
    // No gateway runs, and the socket still accepts connections.
    let (answer, second) = tokio::join!(post(2), gateway(&socket, &vars));
    assert_eq!(answer.unwrap(), 200);
    drop(second);
}

/// systemd makes the socket blocking for all gateways at each start of a unit without `NonBlocking=yes`.
#[tokio::test]
async fn gateways_answer_after_another_process_has_made_their_socket_blocking() {
    let stack = TestStack::builder().without_worker().start().await;
    let socket = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}{CALL_STATUS}", socket.local_addr().unwrap());
    let nats = stack.nats.url();
    let mut gateways = Vec::new();
    for _ in 0..2 {
        let admin = ports::free().unwrap();
        let address = format!("127.0.0.1:{admin}");
        let vars = [("NATS_URL", nats.as_str()), ("ADMIN_ADDR", address.as_str())];
        let (process, logs) = gateway(&socket, &vars).await;
        let readiness = format!("http://{address}/readyz");
        let is_ready = async || stack.http.get(&readiness).send().await.is_ok_and(|a| a.status() == 200);
        until("the gateway is ready", async || is_ready().await.then_some(())).await;
        gateways.push((process, logs, readiness));
    }
    for n in 0..100 {
        socket.set_nonblocking(false).unwrap();
        let body = json!({ "event_type": "call.busy", "call_id": format!("b{n}") }).to_string();
        assert_eq!(stack.http.post(&url).body(body).send().await.unwrap().status(), 200);
        for (.., readiness) in &gateways {
            assert_eq!(stack.http.get(readiness).send().await.unwrap().status(), 200);
        }
    }
}

/// Receives the reports that `process` sends to its supervisor.
async fn report(socket: &UnixDatagram) -> Option<String> {
    let mut buffer = [0; 256];
    let received = tokio::time::timeout(scaled(Duration::from_secs(3)), socket.recv(&mut buffer)).await;
    Some(String::from_utf8_lossy(&buffer[..received.ok()?.unwrap()]).trim().to_owned())
}

#[tokio::test]
async fn gateway_and_worker_report_to_the_watchdog_until_they_hang() {
    let stack = TestStack::builder().start().await;
    let (nats, mongodb) = (stack.nats.url(), stack.mongo.uri());
    for part in ["gateway", "worker"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let vars = [
            ("NATS_URL", nats.as_str()),
            ("MONGODB_URI", mongodb.as_str()),
            ("ADMIN_ADDR", "127.0.0.1:0"),
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("NOTIFY_SOCKET", path.to_str().unwrap()),
            ("WATCHDOG_USEC", "400000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let command = Service::command(part, folder.path(), &vars);
        let mut process = launcher().spawn(&command).await.unwrap();
        let ready = tokio::time::timeout(test_timeout(), async {
            while report(&socket).await.as_deref() != Some("READY=1") {}
        });
        ready.await.unwrap();
        for _ in 0..10 {
            assert_eq!(report(&socket).await.as_deref(), Some("WATCHDOG=1"), "{part}");
        }
        process.signal(Signal::SIGSTOP).unwrap();
        while report(&socket).await.is_some() {} // Those that were on their way.
        process.signal(Signal::SIGCONT).unwrap();
        assert_eq!(report(&socket).await.as_deref(), Some("WATCHDOG=1"), "{part}");
    }
}

#[tokio::test]
async fn stopping_gateway_becomes_unready_and_serves_until_the_delay_ends() {
    let setup = TestStack::builder().without_worker().gateway_env("SHUTDOWN_DELAY", "3s");
    let mut stack = setup.start().await;
    let keeper = aftercall_local::http_client(test_timeout()).unwrap();
    let url = format!("{}{CALL_STATUS}", stack.base);
    let body = json!({ "event_type": "call.busy", "call_id": "c" }).to_string();
    let answer = keeper.post(&url).body(body.clone()).send().await.unwrap();
    assert!(answer.status() == 200 && answer.headers().get("connection").is_none());
    stack.gateway.signal(Signal::SIGTERM);
    stack.gateway.until_unready(&stack.http).await;
    // The gateway answers on a kept and on a new connection, and closes both.
    for client in [&keeper, &stack.http] {
        let answer = client.post(&url).body(body.clone()).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["connection"]),
            (200, &"close".parse().unwrap())
        );
    }
    assert!(stack.gateway.ended().await.success());
    let refused =
        until("the listener is closed", async || stack.http.post(&url).body(body.clone()).send().await.err());
    assert!(refused.await.is_connect());
}
