//! The recipes in `deploy/recipes`, each run as it is, against a server that speaks the protocol of the vendor.

mod delivered;
mod hubspot;
mod n8n;
mod receivers;
mod slack;
mod sql;
mod stand_in;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use aftercall_local::ports;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{node, python, test_timeout, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The path of a recipe.
fn recipe(name: &str) -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/recipes/").to_owned() + name
}

/// A running recipe that receives webhooks.
struct Receiver {
    url: String,
    log: PathBuf,
    http: reqwest::Client,
    _process: Child,
    _folder: TempDir,
}

impl Receiver {
    /// Starts the recipe `name` with these variables, and waits until it answers.
    async fn start(name: &str, vars: &[(&str, &str)]) -> Self {
        Self::start_at(ports::free().unwrap(), SECRET, name, vars).await
    }

    /// [`Self::start`] on this port, for webhooks that are signed with `secret`.
    async fn start_at(port: u16, secret: &str, name: &str, vars: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_python = Path::new(name).extension().is_some_and(|extension| extension == "py");
        let mut command = if is_python {
            let mut command = Command::new("python3");
            command.env("PYTHONPATH", python::folder(&python::RECIPES).await).arg(recipe(name));
            command
        } else {
            // Node finds packages beside the script.
            let script = folder.path().join(name);
            std::fs::copy(recipe(name), &script).unwrap();
            let modules = node::packages().await.join("node_modules");
            std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).unwrap();
            let mut command = Command::new(node::program().await);
            command.arg(script);
            command
        };
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log).unwrap();
        command.env("WEBHOOK_SECRET", secret).env("PORT", port.to_string()).envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).kill_on_drop(true);
        let process = command.spawn().unwrap();
        let http = aftercall_local::http_client(test_timeout()).unwrap();
        let receiver =
            Self { url: format!("http://127.0.0.1:{port}/"), log, http, _process: process, _folder: folder };
        until("the recipe answers", async || receiver.http.get(&receiver.url).send().await.ok().map(drop))
            .await;
        receiver
    }

    /// Posts `body` with a signature of `signed`, made `age` ago. Returns the status of the answer.
    async fn post(&self, body: &str, signed: &str, age: Duration) -> u16 {
        let at = jiff::Timestamp::now().as_second() - age.as_secs().cast_signed();
        let signature = sign("msg_1", at, signed);
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let request = request.header("webhook-id", "msg_1").header("webhook-timestamp", at.to_string());
        let request = request.header("webhook-signature", signature).body(body.to_owned());
        request.send().await.unwrap().status().as_u16()
    }

    /// Posts an event as Aftercall does. Returns the status of the answer.
    async fn event(&self, kind: &str, call: &Value) -> u16 {
        let event =
            json!({ "type": kind, "timestamp": "2026-11-24T08:01:04.000Z", "data": call }).to_string();
        self.post(&event, &event, Duration::ZERO).await
    }

    /// What the recipe has printed.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// The signature of Standard Webhooks, by its specification.
fn sign(id: &str, at: i64, body: &str) -> String {
    let key = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// A call that is over, as events contain it.
fn call(outcome: &str) -> Value {
    json!({
        "callId": "CA0123456789abcdef0123456789abcdef", "conversationId": "conv_1", "agentId": "agent_1",
        "agentName": "Anna & <Ben>", "direction": "outbound", "fromNumber": "+15005550006",
        "toNumber": "+12025550123", "status": "ended", "outcome": outcome, "durationSecs": 61,
        "startedAt": "2026-11-24T08:00:00.000Z", "endedAt": "2026-11-24T08:01:01.000Z",
        "createdAt": "2026-11-24T08:00:00.000Z", "updatedAt": "2026-11-24T08:01:02.000Z", "revision": 1_795_507_262_000_i64,
    })
}
