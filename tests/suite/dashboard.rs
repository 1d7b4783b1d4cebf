//! The Grafana dashboard: a Prometheus that scrapes gateway and worker returns data for every query.

use aftercall_local::{
    ports,
    process::{Command, Process},
    simulator,
};
use serde_json::{Value, json};

use crate::{
    alerts::{is_explained, metrics_in},
    endpoints::{self, receiver::Receiver},
    harness::{CALL_STATUS, TestStack, launcher, test_timeout, tool, until},
};

const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboards/aftercall.json");
/// Value of `$__rate_interval`, which Grafana derives from the scrape interval, here half a second.
const RATE_INTERVAL: &str = "10s";

/// The queries of all panels, each with the title of its panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

#[test]
fn dashboard_uses_existing_metrics_and_its_panels_do_not_overlap() {
    for (title, query) in queries() {
        let metrics = metrics_in(&query);
        assert!(!metrics.is_empty() || query.contains("up{"), "{title}: {query}");
        assert!(metrics.iter().all(|name| is_explained(name)), "{title}: {query}");
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let position = |panel: &Value| {
        let number = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        (number("x"), number("y"), number("w"), number("h"))
    };
    for (n, one) in panels.iter().enumerate() {
        let (x, y, w, h) = position(one);
        assert!(x + w <= 24, "{}", one["title"]);
        for other in &panels[n + 1..] {
            let (left, top, width, height) = position(other);
            let apart = x + w <= left || left + width <= x || y + h <= top || top + height <= y;
            assert!(apart && one["id"] != other["id"], "{} and {}", one["title"], other["title"]);
        }
    }
}

/// A Prometheus that scrapes the stack with the job names of `deploy/prometheus/prometheus.yml`.
struct Prometheus {
    process: Process,
    url: String,
}

impl Prometheus {
    async fn start(folder: &std::path::Path, stack: &TestStack) -> Option<Self> {
        let program = tool("prometheus")?;
        let port = ports::free().unwrap();
        let job = |name: &str, admin: &str| {
            let target = admin.trim_start_matches("http://");
            format!("  - job_name: {name}\n    static_configs: [{{ targets: ['{target}'] }}]\n")
        };
        let jobs = [
            job("aftercall-ingest", stack.gateway.admin()),
            job("aftercall-worker", stack.workers[0].admin()),
        ];
        let config = folder.join("prometheus.yml");
        let text = format!("global: {{ scrape_interval: 500ms }}\nscrape_configs:\n{}", jobs.concat());
        std::fs::write(&config, text).unwrap();
        let command = Command::new("prometheus", &program, folder.join("prometheus.log"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = launcher().spawn(&command).await.unwrap();
        Some(Self { process, url: format!("http://127.0.0.1:{port}") })
    }

    /// The result of a query, or the error as text.
    async fn ask(&self, http: &reqwest::Client, query: &str) -> Result<Vec<Value>, String> {
        let url = format!("{}/api/v1/query", self.url);
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let request = http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        match answer["data"]["result"].as_array() {
            Some(found) => Ok(found.clone()),
            None => Err(answer.to_string()),
        }
    }
}

/// Produces traffic of every kind that the dashboard shows.
async fn traffic(stack: &TestStack, round: usize) {
    let id = |name: &str| format!("{name}{round}");
    for (event, status) in
        [("call.ringing", "ringing"), ("call.answered", "answered"), ("call.completed", "completed")]
    {
        let call = json!({
            "event_type": event, "status": status, "call_id": id("c"), "conversation_id": id("v"),
        });
        stack.webhook(&call).await;
    }
    stack.webhook(&json!({ "event_type": "call.busy", "call_id": id("b") })).await;
    stack.webhook(&json!({ "event_type": "call.vanished", "call_id": id("b") })).await;
    stack.post_to(CALL_STATUS, "[]").await;
    stack.lookup(json!({ "callSid": id("c") })).await;
    let order = json!({ "agentId": "agent_1", "agentPhoneNumberId": "phnum_1", "toNumber": "+15005550000" });
    stack.post_to("/api/agent-calls", order.to_string()).await;
}

#[tokio::test]
async fn every_query_of_the_dashboard_returns_data() {
    let folder = tempfile::tempdir().unwrap();
    let setup = TestStack::builder().simulator(simulator::Options::default());
    let setup = setup.worker_env("DELIVER_TO_PRIVATE_NETWORKS", "true");
    let mut stack =
        setup.worker_env("ELEVENLABS_STATUS_CALLBACK_URL", "http://127.0.0.1:9/never").start().await;
    let endpoint = Receiver::accepting().await;
    endpoints::add(&stack, &endpoint.url("/"), &[]).await;
    let Some(mut prometheus) = Prometheus::start(folder.path(), &stack).await else { return };
    let ready = async || {
        stack.http.get(format!("{}/-/ready", prometheus.url)).send().await.is_ok_and(|a| a.status() == 200)
    };
    prometheus.process.until(test_timeout(), ready).await.unwrap();

    let mut round = 0;
    for (title, query) in queries() {
        let query = query.replace("$__rate_interval", RATE_INTERVAL);
        until(&format!("data for '{title}': {query}"), async || {
            round += 1;
            traffic(&stack, round).await;
            let found =
                prometheus.ask(&stack.http, &query).await.unwrap_or_else(|error| panic!("{title}: {error}"));
            let is_number = |sample: &Value| sample["value"][1].as_str().is_some_and(|value| value != "NaN");
            found.iter().any(is_number).then_some(())
        })
        .await;
    }
    // Prometheus could read every metrics page.
    let scraped = prometheus.ask(&stack.http, "min(up)").await.unwrap();
    assert_eq!(scraped[0]["value"][1], "1");
    stack.gateway.kill().await;
}
