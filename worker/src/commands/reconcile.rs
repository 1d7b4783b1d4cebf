//! `aftercall-worker reconcile`: one pass of reconciliation, and its outcome as a table or as JSON.

use aftercall_common::process::shutdown;
use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;

use super::terminal::{moment, print_line, spinner};
use crate::{
    Context,
    domain::{
        call::Status,
        conversation::ConversationStatus,
        reconciliation::{Finding, Report},
        time::rfc3339,
    },
    elevenlabs::ElevenLabs,
    roles::reconcile::{self, Window},
};

/// Which conversations are compared, and how the outcome is printed.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Conversations that began from then on: RFC 3339, or how long ago [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Conversations that began until then [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Print what would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    /// The window of conversations to compare. `rate` is the most requests a second to the API.
    pub(super) fn window(&self, rate: f64) -> anyhow::Result<Window> {
        let now = Timestamp::now();
        let window = Window {
            since: self.since.unwrap_or_else(|| reconcile::default_since(now)),
            until: self.until.unwrap_or(now),
            rate,
            dry_run: self.dry_run,
        };
        ensure!(window.since < window.until, "--since must be before --until");
        Ok(window)
    }
}

/// Compares the conversations of `window`, publishes what is missing, and prints the outcome.
pub(super) async fn run(
    context: &Context,
    api: &ElevenLabs,
    window: Window,
    as_json: bool,
) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let bar = spinner();
    let progress = |report: &Report| {
        bar.set_message(format!("{} conversations, {} to make up for", report.seen, report.findings.len()));
        bar.tick();
    };
    let outcome = reconcile::pass(context, api, window, &stop, progress).await;
    bar.finish_and_clear();
    let report = outcome?;
    if as_json { print_line(json(&report, window)) } else { print_line(table(&report, window).trim_end()) }
}

fn table(report: &Report, window: Window) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |cells: [&str; 5]| {
        let [conversation, reason, here, there, event] = cells;
        writeln!(text, "{conversation:<36} {reason:<10} {here:<18} {there:<12} {event}")
            .expect("a String takes all");
    };
    if !report.findings.is_empty() || !report.unusable.is_empty() {
        line(["CONVERSATION", "REASON", "HERE", "THERE", "EVENT"]);
    }
    for finding in &report.findings {
        let (here, there) = states(finding);
        line([finding.conversation.as_str(), finding.reason.as_str(), here, there, finding.event]);
    }
    for unusable in &report.unusable {
        let (conversation, reason) = (unusable.conversation.as_str(), unusable.reason.as_str());
        line([conversation, reason, "-", "-", &format!("cannot be used: {}", unusable.error)]);
    }
    let done = if window.dry_run { "would be published" } else { "published" };
    writeln!(
        text,
        "{} conversations since {:.0}, {} events {done}, {} cannot be used, {} placements given up",
        report.seen,
        window.since,
        report.findings.len(),
        report.unusable.len(),
        report.given_up,
    )
    .expect("a String takes all");
    text
}

fn states(finding: &Finding) -> (&'static str, &'static str) {
    (finding.here.map_or("-", |status| status.as_str()), finding.there.map_or("-", |status| status.as_str()))
}

fn json(report: &Report, window: Window) -> serde_json::Value {
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
        "conversations": report.seen, "events": findings.collect::<Vec<_>>(),
        "unusable": unusable.collect::<Vec<_>>(), "placementsGivenUp": report.given_up,
    })
}
