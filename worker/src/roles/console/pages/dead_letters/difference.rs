//! The difference between the original body and an edited one, line by line. Pure.

use std::time::Duration;

use aftercall_common::json;
use similar::{ChangeTag, TextDiff};

use super::check::is_form;

/// Unchanged lines that are shown before and after a change.
const CONTEXT: usize = 3;
/// Most lines that are shown.
const MAX_LINES: usize = 2_000;
/// Longest time for comparing. Afterwards the difference may be longer than needed.
const MAX_TIME: Duration = Duration::from_millis(300);

/// A line of the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is in both bodies.
    Same(String),
    /// It is in the original only.
    Removed(String),
    /// It is in the edited body only.
    Added(String),
    /// Unchanged lines are left out here.
    Gap,
}

/// The difference from `original` to `edited`, bodies of messages of `subject`. Empty: both say the same.
pub fn difference(subject: &str, original: &str, edited: &str) -> Vec<Line> {
    let (original, edited) = (lines(subject, original), lines(subject, edited));
    let diff = TextDiff::configure().timeout(MAX_TIME).diff_lines(&original, &edited);
    let mut shown = Vec::new();
    for (n, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if n > 0 {
            shown.push(Line::Gap);
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            shown.push(match change.tag() {
                ChangeTag::Equal => Line::Same(text),
                ChangeTag::Delete => Line::Removed(text),
                ChangeTag::Insert => Line::Added(text),
            });
        }
    }
    shown.truncate(MAX_LINES);
    shown
}

/// The body in lines: JSON formatted, a form with one line for each pair, any other text as it is.
fn lines(subject: &str, body: &str) -> String {
    if is_form(subject, body) {
        return body.replace('&', "\n&");
    }
    match json::read(body.as_bytes()) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap_or_default(),
        Err(_) => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEVENLABS: &str = "webhooks.elevenlabs.call-status";

    #[test]
    fn only_changed_lines_and_their_neighbours_are_shown() {
        let body = |status: &str| {
            format!(r#"{{"a":1,"b":2,"c":3,"d":4,"event_type":"{status}","z":[1,2,3,4,5,6]}}"#)
        };
        let shown = difference(ELEVENLABS, &body("call.bussy"), &body("call.busy"));
        let same = |text: &str| Line::Same(text.to_owned());
        assert_eq!(
            shown,
            [
                same("  \"b\": 2,"),
                same("  \"c\": 3,"),
                same("  \"d\": 4,"),
                Line::Removed("  \"event_type\": \"call.bussy\",".to_owned()),
                Line::Added("  \"event_type\": \"call.busy\",".to_owned()),
                same("  \"z\": ["),
                same("    1,"),
                same("    2,"),
            ]
        );
        assert_eq!(difference(ELEVENLABS, r#"{"a":1}"#, "{\n \"a\": 1 }"), [], "only the spaces differ");
    }

    #[test]
    fn a_form_has_a_line_for_each_pair_and_broken_json_is_compared_as_text() {
        let shown = difference("webhooks.twilio.call-status", "CallSid=1&To=2&A=3", "CallSid=1&To=4&A=3");
        assert!(shown.contains(&Line::Removed("&To=2".to_owned())), "{shown:?}");
        assert!(shown.contains(&Line::Added("&To=4".to_owned())), "{shown:?}");
        let shown = difference(ELEVENLABS, "{\"a\":1}", "{\"a\":");
        assert!(shown.contains(&Line::Added("{\"a\":".to_owned())), "{shown:?}");
    }

    #[test]
    fn large_bodies_are_compared_in_bounded_time_and_length() {
        let text =
            |salt: usize| (0..100_000).map(|n| (n * salt % 7919).to_string()).collect::<Vec<_>>().join("\n");
        let started = std::time::Instant::now();
        let shown = difference(ELEVENLABS, &text(3), &text(5));
        assert_eq!(shown.len(), MAX_LINES);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
