//! `deploy/prometheus/start-alertmanager`: alerts reach the receivers that the environment names.

use std::{os::unix::fs::symlink, path::Path, process::Stdio};

use aftercall_local::ports;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    endpoints::receiver::{Received, Receiver},
    harness::{test_timeout, tool, until},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/start-alertmanager");

/// Starts Alertmanager in `folder` by the script. `None` if the program is missing.
fn start(folder: &Path, port: u16, vars: &[(&str, String)]) -> Option<Child> {
    // Debian has another name for it than the image.
    symlink(tool("prometheus-alertmanager")?, folder.join("alertmanager")).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    let mut command = Command::new("sh");
    command.arg(SCRIPT).arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.args(["--cluster.listen-address=", "--storage.path=data"]);
    command.env("PATH", path).envs(vars.iter().map(|(name, value)| (name, value)));
    command.current_dir(folder).kill_on_drop(true).stderr(Stdio::piped());
    Some(command.spawn().unwrap())
}

#[tokio::test]
async fn alerts_reach_the_receivers_that_the_environment_names() {
    let (folder, port) = (tempfile::tempdir().unwrap(), ports::free().unwrap());
    let receiver = Receiver::accepting().await;
    let vars = [("ALERT_SLACK_URL", receiver.url("/slack")), ("ALERT_WEBHOOK_URL", receiver.url("/webhook"))];
    let Some(mut running) = start(folder.path(), port, &vars) else { return };
    let http = aftercall_local::http_client(test_timeout()).unwrap();
    let alert = json!([{
        "labels": { "alertname": "AftercallGatewayDown", "severity": "page" },
        "annotations": { "summary": "No gateway is up", "description": "Webhooks are not answered." },
    }]);
    until("Alertmanager takes the alert", async || {
        let posted = http.post(format!("http://127.0.0.1:{port}/api/v2/alerts")).json(&alert).send().await;
        posted.is_ok_and(|answer| answer.status() == 200).then_some(())
    })
    .await;
    let bodies = until("both receivers have the alert", async || {
        let bodies: Vec<_> = receiver.received().iter().map(Received::json).collect();
        let slack = bodies.iter().find(|body| !body["attachments"].is_null())?.clone();
        let webhook = bodies.iter().find(|body| !body["alerts"].is_null())?.clone();
        Some((slack["attachments"][0].clone(), webhook))
    })
    .await;
    let (slack, webhook) = bodies;
    assert_eq!(slack["title"], "FIRING: No gateway is up");
    assert_eq!(slack["text"].as_str().unwrap().trim(), "Webhooks are not answered.");
    assert_eq!(webhook["receiver"], "pages");
    assert_eq!(webhook["alerts"][0]["labels"]["alertname"], "AftercallGatewayDown");
    running.kill().await.unwrap();
}

#[tokio::test]
async fn alertmanager_starts_without_receivers_and_refuses_a_doubtful_url() {
    let (folder, port) = (tempfile::tempdir().unwrap(), ports::free().unwrap());
    let Some(mut running) = start(folder.path(), port, &[]) else { return };
    let http = aftercall_local::http_client(test_timeout()).unwrap();
    until("Alertmanager is ready", async || {
        http.get(format!("http://127.0.0.1:{port}/-/ready")).send().await.ok()
    })
    .await;
    running.kill().await.unwrap();
    let said = running.wait_with_output().await.unwrap().stderr;
    assert!(String::from_utf8_lossy(&said).contains("alerts reach nobody"));

    let folder = tempfile::tempdir().unwrap();
    let vars = [("ALERT_WEBHOOK_URL", "http://x/' }]".to_owned())];
    let refused = start(folder.path(), port, &vars).unwrap().wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.starts_with("ALERT_WEBHOOK_URL: "), "{said}");
}
