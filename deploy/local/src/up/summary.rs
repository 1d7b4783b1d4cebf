//! The summary that `up` prints when everything is ready.

use std::{fmt::Write as _, net::SocketAddr};

use aftercall_common::process::config::Url;

use crate::{data_folder::DataFolder, running::Running};

/// The addresses of all processes, and commands to paste. Passwords in URLs are hidden.
pub fn text(data: &DataFolder, running: &Running, listen: SocketAddr) -> String {
    let host = if listen.ip().is_loopback() || listen.ip().is_unspecified() {
        format!("localhost:{}", listen.port())
    } else {
        listen.to_string()
    };
    let elevenlabs = match &running.simulator_url {
        Some(url) => {
            format!("{url}  SIMULATED: no real calls, made-up transcripts (ELEVENLABS_API_KEY is not set)")
        }
        None => "the real API (ELEVENLABS_API_KEY is set)".to_owned(),
    };
    let rows = [
        ("console", format!("{}  view calls, place test calls, repair dead letters", running.console_link())),
        ("webhooks", format!("http://{host}/api/webhooks/elevenlabs/call-status")),
        ("gateway admin", format!("{0}/readyz  {0}/metrics", running.gateway_admin_url)),
        ("worker admin", admin(&running.worker_admin_urls)),
        ("NATS", nats(running)),
        ("MongoDB", format!("{}  database {}", Url::new(&running.mongodb_uri), running.mongodb_database)),
        ("ElevenLabs API", elevenlabs),
        ("data", format!("{}  (`{} reset` removes it)", data.root().display(), data.command())),
        ("logs", data.path("logs").join("*.log").display().to_string()),
    ];
    let mut text = String::from("\nAftercall is ready.\n\n");
    for (name, value) in rows {
        writeln!(text, "  {name:<15} {value}").expect("writing to a String cannot fail");
    }
    write!(
        text,
        "\nTry it (two webhooks of one call, then a request for the status of the call):\n\n{}",
        curls(&host)
    )
    .expect("writing to a String cannot fail");
    if running.simulator_url.is_some() {
        write!(
            text,
            "\nPlace a simulated call, then look up its callId (numbers that end in {ENDINGS}):\n\n{}",
            placing(&host)
        )
        .expect("writing to a String cannot fail");
    }
    if let Some(token) = &running.api_token {
        write!(
            text,
            "\nA call costs money, so placing one needs this token: -H \"Authorization: Bearer {token}\"\n"
        )
        .expect("writing to a String cannot fail");
    }
    write!(text, "\nTraffic: {} send --help.  Ctrl-C stops everything.\n\n", data.command())
        .expect("writing to a String cannot fail");
    text
}

/// Outcomes of simulated calls, by the last digits of the number.
const ENDINGS: &str = "00 are answered, 01 busy, 02 not answered, 03 fail, 04 reach voicemail";

fn placing(host: &str) -> String {
    format!(
        "curl -X POST http://{host}/api/agent-calls -H \"Content-Type: application/json\" -d '{}'\n",
        r#"{"agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": "+15005550000"}"#
    )
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

fn curls(host: &str) -> String {
    let post = |path: &str, body: &str| {
        format!("curl -X POST http://{host}{path} -H \"Content-Type: application/json\" -d '{body}'\n")
    };
    let webhook = "/api/webhooks/elevenlabs/call-status";
    [
        post(
            webhook,
            r#"{"call_id": "test_call_123", "conversation_id": "test_conv_123", "event_type": "call.completed", "status": "completed"}"#,
        ),
        post(
            webhook,
            r#"{"call_id": "test_call_123", "event_type": "call.no_answer", "status": "failed", "failure_reason": "No answer from recipient"}"#,
        ),
        post("/api/agent-calls/status", r#"{"callSid": "test_call_123"}"#),
    ]
    .concat()
}
