//! The texts that `send` prints.

use std::{fmt::Write as _, time::Duration};

use super::{check::Comparison, post::Posted, visible::Times};

/// Number of errors that are printed.
const SHOWN: usize = 10;
const STRING: &str = "writing to a String cannot fail";

/// Result of posting.
pub fn posting(posted: &Posted) -> String {
    let mut text = String::new();
    let seconds = posted.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count, small")]
    let rate = posted.accepted as f64 / seconds.max(f64::EPSILON);
    writeln!(
        text,
        "{} webhooks answered 200 in {seconds:.1} s ({rate:.0}/s), {} of them duplicates, {} retries",
        posted.accepted, posted.duplicates, posted.retries
    )
    .expect(STRING);
    text.push_str(&spread("time to the 200", &posted.latencies));
    if posted.rejected > 0 {
        writeln!(text, "{} webhooks were not accepted, such as:", posted.rejected).expect(STRING);
    }
    for error in posted.errors.iter().take(SHOWN) {
        writeln!(text, "  {error}").expect(STRING);
    }
    text
}

/// Times of single webhooks.
pub fn visible(times: &Times) -> String {
    spread("time to the 200", &times.answered) + &spread("time to the document", &times.visible)
}

/// Median and 99th percentile of `sorted`.
fn spread(name: &str, sorted: &[Duration]) -> String {
    let at = |percent: usize| {
        let position = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(position).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    };
    format!("{name}: median {:.1} ms, 99 % within {:.1} ms\n", at(50), at(99))
}

/// Expected and found documents.
pub fn documents(comparison: &Comparison) -> String {
    let mut text = format!("\n{:<20} {:>10} {:>10}\n", "status", "expected", "found");
    let statuses = comparison.statuses.iter().map(|(status, counts)| (status.as_str(), *counts));
    let totals = [("documents", comparison.documents), ("with transcript", comparison.transcripts)];
    for (n, (name, (expected, found))) in statuses.chain(totals).enumerate() {
        if n == comparison.statuses.len() {
            text.push('\n');
        }
        let mark = if expected == found { "" } else { "  <-" };
        writeln!(text, "{name:<20} {expected:>10} {found:>10}{mark}").expect(STRING);
    }
    match comparison.wrong.len() {
        0 => text.push_str("\nevery document is as expected\n"),
        n => writeln!(text, "\n{n} wrong:").expect(STRING),
    }
    for (id, difference) in comparison.wrong.iter().take(SHOWN) {
        writeln!(text, "  {id}: {difference}").expect(STRING);
    }
    if comparison.wrong.len() > SHOWN {
        writeln!(text, "  … and {} more", comparison.wrong.len() - SHOWN).expect(STRING);
    }
    text
}
