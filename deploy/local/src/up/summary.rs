//! The summary that `up` prints when everything is ready: short, or with every address.

use std::net::SocketAddr;

use aftercall_common::process::config::Url;

use super::deployment::StartContext;
use crate::{data_folder::DataFolder, running::Running};

/// The first lines.
const READY: &str = "\nAftercall is ready.\n\n";
/// Path of the webhooks of ElevenLabs.
const WEBHOOKS: &str = "/api/webhooks/elevenlabs/call-status";

/// The text for this start. Passwords in URLs are hidden.
pub fn text(start: &StartContext<'_>, running: &Running, has_demo: bool) -> String {
    let host = host(start.options.listen);
    if start.options.verbose {
        full(start.data, running, &host)
    } else {
        brief(start.data, running, &host, has_demo)
    }
}

/// What to open, and a webhook to try.
fn brief(data: &DataFolder, running: &Running, host: &str, has_demo: bool) -> String {
    let metrics = std::iter::once(&running.gateway_admin_url).chain(&running.worker_admin_urls);
    let metrics: Vec<_> = metrics.map(|url| format!("{url}/metrics")).collect();
    let elevenlabs = match &running.simulator_url {
        Some(_) => "simulated: no real calls, made-up transcripts (ELEVENLABS_API_KEY is not set)",
        None => "the real API (ELEVENLABS_API_KEY is set)",
    };
    let demo = if has_demo { "demo calls of invented people follow; --empty starts without" } else { "" };
    let rows = [
        ("console", running.console_link()),
        ("webhooks", format!("http://{host}{WEBHOOKS}")),
        ("API", format!("http://{host}/api/agent-calls  described by http://{host}/openapi.json")),
        ("metrics", metrics.join("  ")),
        ("ElevenLabs API", elevenlabs.to_owned()),
        ("demo", demo.to_owned()),
        ("data, logs", data.root().display().to_string()),
    ];
    [
        READY,
        &table(&rows),
        "\nTry it (a webhook, then the status of its call):\n\n",
        &answered(host),
        &ask(host),
        &token(running),
        "\nBelow this line: warnings and errors. `--verbose` prints everything. Ctrl-C stops everything.\n\n",
    ]
    .concat()
}

/// The addresses of all processes, and commands to paste.
fn full(data: &DataFolder, running: &Running, host: &str) -> String {
    let elevenlabs = match &running.simulator_url {
        Some(url) => {
            format!("{url}  SIMULATED: no real calls, made-up transcripts (ELEVENLABS_API_KEY is not set)")
        }
        None => "the real API (ELEVENLABS_API_KEY is set)".to_owned(),
    };
    let rows = [
        ("console", format!("{}  view calls, place test calls, repair dead letters", running.console_link())),
        ("webhooks", format!("http://{host}{WEBHOOKS}")),
        ("gateway admin", format!("{0}/readyz  {0}/metrics", running.gateway_admin_url)),
        ("worker admin", admin(&running.worker_admin_urls)),
        ("NATS", nats(running)),
        ("MongoDB", format!("{}  database {}", Url::new(&running.mongodb_uri), running.mongodb_database)),
        ("ElevenLabs API", elevenlabs),
        ("data", format!("{}  (`{} reset` removes it)", data.root().display(), data.command())),
        ("logs", data.path("logs").join("*.log").display().to_string()),
    ];
    let place = running.simulator_url.as_ref().map(|_| placing(host)).unwrap_or_default();
    [
        READY,
        &table(&rows),
        "\nTry it (a webhook of an answered call, one of an unanswered call, the status of the first call):\n\n",
        &answered(host),
        &unanswered(host),
        &ask(host),
        &place,
        &token(running),
        &format!("\nTraffic: {} send --help.  Ctrl-C stops everything.\n\n", data.command()),
    ]
    .concat()
}

/// The public address of the gateway, as a person types it.
fn host(listen: SocketAddr) -> String {
    if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        format!("localhost:{}", listen.port())
    } else {
        listen.to_string()
    }
}

/// One line for each row with a value.
fn table(rows: &[(&str, String)]) -> String {
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    rows.map(|(name, value)| format!("  {name:<15} {value}\n")).collect::<Vec<_>>().concat()
}

/// The token that places calls, if `up` has made one.
fn token(running: &Running) -> String {
    running.api_token.as_ref().map_or_else(String::new, |token| {
        format!(
            "\nA call costs money, so placing one needs this token: -H \"Authorization: Bearer {token}\"\n"
        )
    })
}

/// Outcomes of simulated calls, by the last digits of the number.
const ENDINGS: &str = "00 are answered, 01 busy, 02 not answered, 03 fail, 04 reach voicemail";

fn placing(host: &str) -> String {
    let body = r#"{"agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": "+15005550000"}"#;
    let command = post(host, "/api/agent-calls", body);
    format!("\nPlace a simulated call, then look up its callId (numbers that end in {ENDINGS}):\n\n{command}")
}

fn nats(running: &Running) -> String {
    let monitor = running.nats_monitor_url.as_ref().map(|url| format!("  monitoring {url}/jsz"));
    // The monitoring URL and the file of users exist only for a nats-server that `up` has started.
    let users = monitor.as_ref().map(|_| "  users in nats-users.json");
    format!("{}{}{}", Url::new(&running.nats_url), monitor.unwrap_or_default(), users.unwrap_or_default())
}

fn admin(urls: &[String]) -> String {
    let addresses = urls.iter().map(|url| format!("{url}/readyz  {url}/metrics"));
    addresses.collect::<Vec<_>>().join("\n                  ")
}

/// The command that posts `body` to the path of `host`.
fn post(host: &str, path: &str, body: &str) -> String {
    format!("curl -X POST http://{host}{path} -H \"Content-Type: application/json\" -d '{body}'\n")
}

fn answered(host: &str) -> String {
    let body = r#"{"call_id": "test_call_123", "conversation_id": "test_conv_123", "event_type": "call.completed", "status": "completed"}"#;
    post(host, WEBHOOKS, body)
}

/// A webhook without a conversation: a call that nobody answers has no transcript.
fn unanswered(host: &str) -> String {
    let body = r#"{"call_id": "test_call_456", "event_type": "call.no_answer", "status": "failed", "failure_reason": "No answer from recipient"}"#;
    post(host, WEBHOOKS, body)
}

fn ask(host: &str) -> String {
    post(host, "/api/agent-calls/status", r#"{"callSid": "test_call_123"}"#)
}
