//! Metrics: all are documented, count correctly, and report the durability of accepted webhooks.

use std::collections::{BTreeMap, BTreeSet};

use aftercall_common::contract::streams;
use aftercall_local::{nats, ports, simulator};
use async_nats::jetstream;
use serde_json::json;

use crate::harness::{CALL_STATUS, TWILIO_CALL_STATUS, TestStack, until, until_equal, value};

/// The metrics of a page and their kinds, by the names in the documentation.
fn families(page: &str) -> BTreeMap<String, String> {
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut families = BTreeMap::new();
    for (name, kind) in kinds {
        let shown = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert_eq!(families.insert(shown, kind.to_owned()), None, "{name} twice");
    }
    families
}

/// The metrics in a section of `deploy/METRICS.md`, and their kinds.
fn explained(section: &str) -> BTreeMap<String, String> {
    let text = include_str!("../../deploy/METRICS.md");
    let start = text.find(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let section = text[start + 1..].split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert!(cells.len() >= 4 && cells[3].len() > 8, "name, kind, labels, meaning: {row}");
        (cells[0].trim_end_matches('`').to_owned(), cells[1].to_owned())
    })
    .collect()
}

async fn gateway_value(stack: &TestStack, series: &str) -> Option<f64> {
    value(&stack.gateway.metrics(&stack.http).await, series)
}

#[tokio::test]
async fn documented_metrics_are_those_of_running_gateway_and_worker() {
    let setup = TestStack::builder().simulator(simulator::Options::default());
    let stack = setup.worker_env("ELEVENLABS_STATUS_CALLBACK_URL", "http://127.0.0.1:9/never").start().await;
    // These series appear with their first event only.
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": "c" })).await;
    stack.all_acknowledged().await;
    until("the registration of the webhook is checked", async || {
        let page = stack.workers[0].metrics(&stack.http).await;
        page.contains("aftercall_webhook_registration_problems{").then_some(())
    })
    .await;
    let both = explained("Both");
    for (section, page) in [
        ("Gateway", stack.gateway.metrics(&stack.http).await),
        ("Worker", stack.workers[0].metrics(&stack.http).await),
    ] {
        let mut expected = explained(section);
        expected.extend(both.clone());
        assert_eq!(families(&page), expected, "{section}, left: the page, right: deploy/METRICS.md");
        for (name, kind) in families(&page) {
            let unit = ["_seconds", "_bytes", "_total", "_info"].iter().any(|unit| name.ends_with(unit));
            assert!(unit || kind == "gauge" || name.ends_with("_messages"), "{name} has no unit");
        }
        let series = page.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series < 1500, "{section}: {series} series");
    }
}

#[tokio::test]
async fn webhook_is_counted_at_every_stage() {
    let stack = TestStack::start().await;
    let route = "{route=\"elevenlabs_call_status\"}";
    let began =
        gateway_value(&stack, &format!("aftercall_webhook_last_accepted_timestamp_seconds{route}")).await;
    assert!(began.unwrap() > 1.7e9);
    let refused = stack.post_to(CALL_STATUS, "[]").await;
    assert_eq!(refused.status, 400);
    let failures = format!("aftercall_webhook_failures_in_a_row{route}");
    assert_eq!(gateway_value(&stack, &failures).await, Some(1.0));
    stack
        .webhook(&json!({ "event_type": "call.busy", "call_id": "c", "failure_reason": "+1500 was busy" }))
        .await;
    stack.webhook(&json!({ "event_type": "call.vanished", "call_id": "c" })).await;
    assert_eq!(gateway_value(&stack, &failures).await, Some(0.0));
    stack.all_acknowledged().await;
    let page = stack.gateway.metrics(&stack.http).await;
    for (series, expected) in [
        ("aftercall_http_requests_total{route=\"elevenlabs_call_status\",code=\"ok\"}", 2.0),
        ("aftercall_http_requests_total{route=\"elevenlabs_call_status\",code=\"invalid_json\"}", 1.0),
        ("aftercall_publishes_total{outcome=\"stored\"}", 2.0),
        ("aftercall_broker_connected", 1.0),
        ("aftercall_streams_ready", 1.0),
        ("aftercall_tls_certificate_expiry_timestamp_seconds", 0.0),
    ] {
        assert_eq!(value(&page, series), Some(expected), "{series}\n{page}");
    }
    let worker = async |series: &str| value(&stack.workers[0].metrics(&stack.http).await, series);
    for (series, expected) in [
        ("aftercall_events_applied_total{status=\"busy\"}", 1.0),
        ("aftercall_call_failures_total{status=\"busy\",reason=\"busy\"}", 1.0),
        ("aftercall_dead_letters_total{reason=\"unsupported_event\"}", 1.0),
        ("aftercall_stream_messages{stream=\"DEAD_LETTERS\"}", 1.0),
        ("aftercall_stream_messages{stream=\"WEBHOOKS\"}", 2.0),
        ("aftercall_consumer_pending{consumer=\"status\"}", 0.0),
        ("aftercall_mongodb_connected", 1.0),
        ("aftercall_webhook_age_seconds_count", 1.0),
    ] {
        until_equal(series, Some(expected), async || worker(series).await).await;
    }
    for page in [page, stack.workers[0].metrics(&stack.http).await] {
        for series in page.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series) {
            assert!(!series.contains("1500"), "a label contains text of a sender: {series}");
        }
    }
}

#[tokio::test]
async fn metrics_show_due_transcripts_with_their_age() {
    let stack = TestStack::builder().worker_env("ELEVENLABS_API_KEY", "").start().await;
    let worker = async |series: &str| value(&stack.workers[0].metrics(&stack.http).await, series);
    stack.webhook(&json!({ "event_type": "call.completed", "call_id": "c", "conversation_id": "v" })).await;
    until_equal("owed", Some(1.0), async || worker("aftercall_transcripts_owed").await).await;
    until("its age grows", async || {
        worker("aftercall_transcript_oldest_owed_age_seconds").await.filter(|age| *age >= 1.0)
    })
    .await;
}

/// The grades whose value is 1.
async fn grade(stack: &TestStack) -> BTreeSet<String> {
    let page = stack.gateway.metrics(&stack.http).await;
    let grades = page.lines().filter_map(|line| line.strip_prefix("aftercall_durability_grade{grade=\""));
    grades.filter_map(|line| Some(line.split_once("\"} 1")?.0.to_owned())).collect()
}

#[tokio::test]
async fn durability_grade_follows_the_broker_and_is_read_again_after_a_reconnect() {
    #[rustfmt::skip]
    let table = [ // syncs always, monitor is configured, grade, log message
        (true,  true,  "synced",     "on the broker's disk"),
        (false, true,  "page-cache", "a power cut loses it"),
        (false, false, "unknown",    "set NATS_MONITOR_URL"),
    ];
    for (sync_always, asked, expected, said) in table {
        let monitor = ports::free().unwrap();
        let options = nats::Options { monitor, sync_always, ..nats::Options::default() };
        let mut setup = TestStack::builder().nats(options).without_worker();
        if asked {
            setup = setup.gateway_env("NATS_MONITOR_URL", &format!("http://127.0.0.1:{monitor}"));
        }
        let mut stack = setup.start().await;
        let wanted = BTreeSet::from([expected.to_owned()]);
        until_equal("grade", wanted.clone(), async || grade(&stack).await).await;
        let lines = |log: &str| log.matches(said).count();
        until_equal("lines in the log", 1, async || lines(&stack.gateway.log())).await;
        stack.nats.restart().await.unwrap();
        until_equal("lines in the log", 2, async || lines(&stack.gateway.log())).await;
        assert_eq!(grade(&stack).await, wanted);
        let config =
            stack.jetstream.get_stream(streams::WEBHOOKS).await.unwrap().cached_info().config.clone();
        assert_eq!(config.storage, jetstream::stream::StorageType::File);
    }
}

#[tokio::test]
async fn only_the_provider_changes_the_count_of_its_failures() {
    let stack = TestStack::builder().without_worker().gateway_env("EVENTS_TOKEN", "own").start().await;
    let failures = async |route: &str| {
        let series = format!("aftercall_webhook_failures_in_a_row{{route=\"{route}\"}}");
        gateway_value(&stack, &series).await
    };
    assert_eq!(stack.post_to(CALL_STATUS, "[]").await.status, 400);
    // A dialler of the operator says nothing about the provider.
    let url = format!("{}{CALL_STATUS}", stack.base);
    let own = json!({ "event_type": "call.busy", "call_id": "c" }).to_string();
    let own = stack.send(stack.http.post(url).bearer_auth("own").body(own)).await;
    assert_eq!(own.status, 200, "{}", own.body);
    assert_eq!(failures("elevenlabs_call_status").await, Some(1.0));
    // Anybody can send a well-formed signature.
    let url = format!("{}{TWILIO_CALL_STATUS}", stack.base);
    let forged = stack.http.post(url).header("x-twilio-signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let forged = forged.header("content-type", "application/x-www-form-urlencoded").body("nonsense");
    let status = forged.send().await.unwrap().status().as_u16();
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(failures("twilio_call_status").await, Some(0.0));
}
