//! The report of a reconciliation pass, as a table or as JSON. Pure.

use serde_json::json;

use crate::{
    commands::table::{self, Column},
    domain::{
        call::Status,
        conversation::ConversationStatus,
        reconciliation::{Finding, Report},
        time::rfc3339,
    },
    roles::reconcile::Window,
};

const COLUMNS: [Column; 5] = [
    Column::text("CONVERSATION", 36),
    Column::text("REASON", 10),
    Column::text("HERE", 18),
    Column::text("THERE", 12),
    Column::text("EVENT", 0),
];

/// One line for each missing event and each conversation that cannot be used, and a line with the totals.
pub fn table(report: &Report, window: Window) -> String {
    let mut lines = Vec::new();
    if !report.findings.is_empty() || !report.unusable.is_empty() {
        lines.push(table::header(&COLUMNS));
    }
    for finding in &report.findings {
        let (here, there) = states(finding);
        let cells = [finding.conversation.as_str(), finding.reason.as_str(), here, there, finding.event];
        lines.push(table::row(&COLUMNS, cells));
    }
    for unusable in &report.unusable {
        let (conversation, reason) = (unusable.conversation.as_str(), unusable.reason.as_str());
        let error = format!("cannot be used: {}", unusable.error);
        lines.push(table::row(&COLUMNS, [conversation, reason, "-", "-", &error]));
    }
    lines.push(format!(
        "{} conversations since {:.0}, {} of them of other systems, {} events {}, {} cannot be used, {} calls ended without a known outcome, \
         {} placements given up",
        report.seen,
        window.since,
        report.foreign,
        report.findings.len(),
        if window.dry_run { "would be published" } else { "published" },
        report.unusable.len(),
        report.unconcluded,
        report.given_up,
    ));
    lines.join("\n")
}

/// The status of the call here, and the state of the conversation at ElevenLabs.
fn states(finding: &Finding) -> (&'static str, &'static str) {
    (finding.here.map_or("-", |status| status.as_str()), finding.there.map_or("-", |status| status.as_str()))
}

/// The report as one JSON object.
pub fn json(report: &Report, window: Window) -> serde_json::Value {
    let findings = report.findings.iter().map(|finding| {
        let (here, there) = (finding.here.map(Status::as_str), finding.there.map(ConversationStatus::as_str));
        json!({
            "conversationId": finding.conversation.as_str(), "reason": finding.reason.as_str(),
            "here": here, "there": there, "event": finding.event,
        })
    });
    let unusable = report.unusable.iter().map(|unusable| {
        json!({
            "conversationId": unusable.conversation.as_str(), "reason": unusable.reason.as_str(),
            "error": unusable.error,
        })
    });
    json!({
        "since": rfc3339(window.since), "until": rfc3339(window.until), "dryRun": window.dry_run,
        "conversations": report.seen, "foreign": report.foreign, "events": findings.collect::<Vec<_>>(),
        "unusable": unusable.collect::<Vec<_>>(), "unconcluded": report.unconcluded, "placementsGivenUp": report.given_up,
    })
}
