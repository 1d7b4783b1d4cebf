//! The report as text. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Answer, FailureRate};
use crate::commands::table::printable;

/// The whole report.
pub(super) fn report(since: Timestamp, until: Timestamp, rate: &FailureRate, answers: &[Answer]) -> String {
    let mut text = String::new();
    let share = rate.share().map_or("-".to_owned(), percent);
    line(
        &mut text,
        &format!("{} calls from {since:.0} to {until:.0}, {} failed: {share}", rate.calls, rate.failed),
    );
    for answer in answers {
        line(&mut text, "");
        let (title, columns) = layout(answer.name);
        let index = if answer.plan.indexes.is_empty() {
            "no index".to_owned()
        } else {
            answer.plan.indexes.join(", ")
        };
        line(&mut text, &format!("{title}  (by {index})"));
        if answer.rows.is_empty() {
            line(&mut text, "  none");
        }
        for row in &answer.rows {
            let cells: Vec<_> = columns.iter().map(|(name, width)| cell(row, name, *width)).collect();
            line(&mut text, format!("  {}", cells.join("  ")).trim_end());
        }
    }
    text
}

/// Title and columns of an answer; a column is a field and its width.
fn layout(name: &str) -> (&'static str, &'static [(&'static str, usize)]) {
    match name {
        "statuses" => ("STATUSES", &[("calls", 8), ("is", 0)]),
        "outcomes" => ("OUTCOMES, of calls that are over", &[("calls", 8), ("is", 0)]),
        "failures" => ("FAILURES BY REASON", &[("calls", 8), ("is", 0)]),
        "hours" => ("BY HOUR: calls, failed", &[("is", 20), ("calls", 8), ("failed", 8), ("share", 7)]),
        "failed_calls" => (
            "LATEST FAILED CALLS",
            &[("at", 24), ("status", 17), ("callId", 34), ("conversationId", 34), ("failureReason", 0)],
        ),
        "slowest_transcripts" => (
            "SLOWEST TRANSCRIPTS, from owed to saved",
            &[("delayMs", 10), ("callId", 34), ("conversationId", 0)],
        ),
        _ => (
            "TRANSCRIPTS OWED FOR THE LONGEST TIME",
            &[("delayMs", 10), ("callId", 34), ("conversationId", 0)],
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds")]
fn cell(row: &Value, name: &str, width: usize) -> String {
    let number = |name: &str| row[name].as_u64().unwrap_or(0) as f64;
    let shown = match (name, &row[name]) {
        ("delayMs", _) => format!("{:.1} s", number("delayMs") / 1e3),
        ("share", _) => percent(number("failed") / number("calls").max(1.0)),
        (_, Value::String(text)) => printable(text),
        (_, Value::Null) => "-".to_owned(),
        (_, other) => other.to_string(),
    };
    let is_number = matches!(name, "calls" | "failed" | "delayMs" | "share");
    if is_number { format!("{shown:>width$}") } else { format!("{shown:<width$}") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Plan;

    #[test]
    fn the_report_lists_each_answer_with_its_index() {
        let plan = Plan { stages: Vec::new(), indexes: vec!["createdAt_-1_status_1".to_owned()] };
        let answer = |name, rows| Answer { name, rows, plan: plan.clone() };
        let answers = [
            answer(
                "statuses",
                vec![json!({ "is": "ended", "calls": 12 }), json!({ "is": null, "calls": 1 })],
            ),
            answer("failures", vec![json!({ "is": "No\u{1b}[2J answer", "calls": 3 })]),
            answer("hours", vec![json!({ "is": "2026-11-25T10:00:00Z", "calls": 8, "failed": 2 })]),
            answer(
                "slowest_transcripts",
                vec![json!({ "delayMs": 61500, "callId": "c", "conversationId": "v" })],
            ),
            answer("failed_calls", vec![]),
        ];
        let moment = |text: &str| text.parse().unwrap();
        let (since, until) = (moment("2026-11-24T11:00:00Z"), moment("2026-11-25T11:00:00Z"));
        let shown = report(since, until, &FailureRate { calls: 8, failed: 2 }, &answers);
        for line in [
            "8 calls from 2026-11-24T11:00:00Z to 2026-11-25T11:00:00Z, 2 failed: 25.0 %",
            "STATUSES  (by createdAt_-1_status_1)",
            "        12  ended",
            "         1  -",
            "         3  No [2J answer",
            "  2026-11-25T10:00:00Z         8         2   25.0 %",
            "      61.5 s  c                                   v",
            "  none",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} in\n{shown}");
        }
        assert_eq!(FailureRate::default().share(), None);
    }
}
