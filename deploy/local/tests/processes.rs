//! Servers restart with the same data and port, and no process outlives its owner.

use std::{path::Path, process::Stdio, time::Duration};

use aftercall_local::{
    mongod, nats,
    process::{Command, Launcher, Signal},
    servers,
};
use mongodb::bson::{Document, doc};

const EXE: &str = env!("CARGO_BIN_EXE_aftercall-local");

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pid: u32) -> bool {
    for _ in 0..250 {
        if !is_alive(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn dropped_or_stopped_process_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let sleep = |name: &str| Command::new("sleep", "sleep", folder.path().join(name)).arg("600");
    let launcher = Launcher::new(EXE).grace(Duration::from_millis(200));

    let process = launcher.spawn(&sleep("dropped.log")).await.unwrap();
    let pid = process.pid();
    assert!(is_alive(pid));
    drop(process);
    assert!(!is_alive(pid), "drop waits for the end");

    let mut frozen = launcher.spawn(&sleep("frozen.log")).await.unwrap();
    frozen.signal(Signal::SIGSTOP).unwrap();
    let pid = frozen.pid();
    drop(frozen);
    assert!(!is_alive(pid), "a frozen process ends too");

    let mut stopped = launcher.spawn(&sleep("stopped.log")).await.unwrap();
    assert_eq!(stopped.stop().await.unwrap().code(), Some(128 + 15));
    assert!(!stopped.is_running());

    let mut killed = launcher.spawn(&sleep("killed.log")).await.unwrap();
    killed.kill().unwrap();
    assert_eq!(killed.wait(Duration::from_secs(5)).await.unwrap().code(), Some(128 + 9));
}

#[tokio::test]
async fn start_of_a_missing_program_fails_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let command = Command::new("server", "/no/such/server", folder.path().join("log"));
    let error = Launcher::new(EXE).spawn(&command).await.unwrap_err();
    assert!(error.to_string().contains("cannot start /no/such/server"), "{error}");
}

/// The test closes the pipe of the guard, as the kernel does when the parent is killed.
#[tokio::test]
async fn program_ends_and_its_folder_is_removed_when_the_parent_of_its_guard_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut guard = std::process::Command::new(EXE)
        .args(["guard", "--remove"])
        .arg(&data)
        .args(["--", "sleep", "600"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(guard.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    let pid = said.trim().strip_prefix("pid ").unwrap().parse().unwrap();
    assert!(is_alive(pid));
    drop(guard.stdin.take());
    assert!(gone(pid).await);
    guard.wait().unwrap();
    assert!(!data.exists());
}

#[tokio::test]
async fn killed_broker_restarts_on_its_port() {
    let binary = servers::locate(&servers::NATS, &servers::shared_services()).await.unwrap();
    let options = nats::Options { extra: "max_payload: 64KB".into(), ..nats::Options::default() };
    let mut nats = nats::start(&Launcher::new(EXE), &binary, options).await.unwrap();
    let (url, pid) = (nats.url(), nats.process().pid());
    nats.kill().await.unwrap();
    assert!(!is_alive(pid));
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    let pid = nats.process().pid();
    drop(nats);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn killed_database_restarts_with_its_data() {
    let binary = servers::locate(&servers::MONGOD, &servers::shared_services()).await.unwrap();
    let mut mongod = mongod::start(&Launcher::new(EXE), &binary, mongod::Options::default()).await.unwrap();
    let client = mongodb::Client::with_uri_str(mongod.url()).await.unwrap();
    let collection = client.database("test").collection::<Document>("kept");
    collection.insert_one(doc! { "n": 1 }).await.unwrap();
    mongod.kill().await.unwrap();
    mongod.restart().await.unwrap();
    assert_eq!(collection.count_documents(doc! {}).await.unwrap(), 1);
    let pid = mongod.process().pid();
    drop(mongod);
    assert!(!is_alive(pid));
}
