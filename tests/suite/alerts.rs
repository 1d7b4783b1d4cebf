//! The alert rules: each alert has a promtool test and a section in the runbook, and uses documented metrics.

use std::collections::BTreeSet;

use crate::harness::tool;

const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../../deploy/prometheus/alerts.test.yml");
const WEEK: &str = include_str!("../../deploy/prometheus/alerts.week.test.yml");
const RUNBOOK: &str = include_str!("../../deploy/RUNBOOK.md");
const METRICS: &str = include_str!("../../deploy/METRICS.md");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus");

/// The rest of every line that begins with `prefix`.
fn after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(prefix)).collect()
}

/// The names of metrics in a query.
pub fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("aftercall_") || word.starts_with("process_")).collect()
}

/// Whether `deploy/METRICS.md` explains `name`.
pub fn is_explained(name: &str) -> bool {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    METRICS.contains(&format!("\n| `{}` |", base.unwrap_or(name)))
}

#[test]
fn every_alert_has_a_test_and_a_section_in_the_runbook() {
    let alerts = after(ALERTS, "- alert: ");
    let urls = after(ALERTS, "runbook_url: ");
    assert!(alerts.len() >= 30 && alerts.len() == urls.len());
    let sections = after(RUNBOOK, "## ");
    for (alert, url) in alerts.iter().zip(urls) {
        assert_eq!(url, format!("RUNBOOK.md#{}", alert.to_lowercase()));
        assert!(sections.contains(alert), "{alert} has no section in the runbook");
        let fires = format!("{{ labels: '{{alertname=\"{alert}\"}}', value: 1 }}");
        assert!((TESTS.contains(&fires) || WEEK.contains(&fires)), "{alert} fires in no test");
    }
    for section in &sections {
        assert!(alerts.contains(section), "{section} is no alert");
    }
    for section in RUNBOOK.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        for part in ["Symptom", "Fix", "First look"] {
            assert!(section.to_lowercase().contains(&part.to_lowercase()), "{name}: no '{part}'");
        }
    }
    for severity in after(ALERTS, "labels: ") {
        assert!(["{ severity: page }", "{ severity: ticket }"].contains(&severity), "{severity}");
    }
    let unknown: Vec<_> = metrics_in(ALERTS).into_iter().filter(|name| !is_explained(name)).collect();
    assert!(unknown.is_empty(), "not in deploy/METRICS.md: {unknown:?}");
}

#[tokio::test]
async fn promtool_accepts_the_alert_rules() {
    let Some(promtool) = tool("promtool") else { return };
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "alerts.test.yml", "alerts.week.test.yml"],
    ] {
        let mut command = tokio::process::Command::new(&promtool);
        let output = command.args(arguments).current_dir(FOLDER).kill_on_drop(true).output().await.unwrap();
        let printed = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&printed));
    }
}
