//! The history of a call as a timeline, and the reason for its status. Pure.

use std::time::Duration;

use aftercall_common::{contract::provider::Provider, phone_numbers::Numbers};

use super::{
    format,
    tone::{self, Tone},
};
use crate::{
    domain::{
        call::{HistoryEntry, Status},
        time::between,
    },
    store::views::Detail,
};

/// Shortest delay that the timeline shows.
const MIN_SHOWN_DELAY: Duration = Duration::from_secs(2);

/// One event of the history, as texts.
#[derive(Debug)]
pub struct Step {
    pub clock: String,
    pub iso: String,
    pub moment: String,
    /// The date, if the event is the first one of its day.
    pub day: Option<String>,
    pub event: String,
    pub source: &'static str,
    /// Result of the signature check. Empty: unknown.
    pub signature: String,
    /// The status that the event claims. `None`: it claims none.
    pub status: Option<&'static str>,
    pub glyph: &'static str,
    pub tone: &'static str,
    /// The status in the sender's own word, if it differs from `status`.
    pub received: Option<String>,
    /// Whether the status of the call comes from this event.
    pub decides: bool,
    /// Unusual properties of the event: label and explanation.
    pub marks: Vec<(&'static str, String)>,
}

/// The events of `call`, ordered by their own time.
pub fn steps(call: &Detail, numbers: Numbers) -> Vec<Step> {
    let history = &call.history;
    let mut day = None;
    (0..history.len())
        .map(|n| {
            let entry = &history[n];
            let today = format::day(entry.at);
            let is_new_day = day.as_ref() != Some(&today);
            day = Some(today.clone());
            let status = entry.status.as_deref().and_then(Status::from_word);
            let word = status.map(|status| tone::status_text(Some(status)));
            let received = entry.received_status.as_deref();
            let received = received.filter(|received| Some(*received) != entry.status.as_deref());
            Step {
                clock: format::clock(entry.at),
                iso: entry.at.to_string(),
                moment: format::moment(entry.at),
                day: is_new_day.then_some(today),
                event: format::sender_text(&entry.event_type, numbers),
                source: source(entry),
                signature: entry.signature.as_deref().map(signature_text).unwrap_or_default(),
                status: word,
                glyph: word.map_or("note", |_| tone::glyph(status)),
                tone: word.map_or("note", |_| Tone::of(status).class()),
                received: received.map(|received| format::sender_text(received, numbers)),
                decides: call.decided_by.as_ref() == Some(&entry.event_id),
                marks: marks(history, n),
            }
        })
        .collect()
}

fn source(entry: &HistoryEntry) -> &'static str {
    match entry.origin.as_deref().unwrap_or_default() {
        "reconciliation" => "Reconciliation",
        "lookup" => "Status lookup",
        "placement" => "Placed through Aftercall",
        word => {
            let provider = Provider::ALL.iter().find(|provider| provider.word() == word);
            provider.map_or("Source unknown", |provider| provider.title())
        }
    }
}

fn signature_text(word: &str) -> String {
    match word {
        "verified" => "signature verified".to_owned(),
        "absent" => "not signed".to_owned(),
        "edited" => "edited by an operator".to_owned(),
        word => format!("signature {}", format::cut(word, 32)),
    }
}

fn marks(history: &[HistoryEntry], n: usize) -> Vec<(&'static str, String)> {
    let entry = &history[n];
    let rank = |entry: &HistoryEntry| entry.status.as_deref().and_then(Status::from_word).map(Status::rank);
    let mut marks = Vec::new();
    let overtaken = history[n + 1..].iter().filter_map(|later| later.stored_at).min();
    if let (Some(stored_at), Some(overtaken)) = (entry.stored_at, overtaken)
        && stored_at > overtaken
    {
        let delay = between(entry.at, stored_at);
        let by = if delay >= MIN_SHOWN_DELAY {
            format!(", {} after it happened", format::delay(delay))
        } else {
            String::new()
        };
        marks.push(("late", format!("arrived after later events{by}")));
    }
    let before = &history[..n];
    let is_same = |other: &&HistoryEntry| other.status == entry.status && other.status.is_some();
    if let Some(first) = before.iter().find(is_same) {
        let text = if first.origin == entry.origin {
            "the same source has already reported this status"
        } else {
            "another source has already reported this status"
        };
        marks.push(("duplicate", text.to_owned()));
    } else if let (Some(own), Some(reached)) = (rank(entry), before.iter().filter_map(rank).max())
        && own < reached
    {
        marks
            .push(("no effect", "the call already had a later status; a status never moves back".to_owned()));
    }
    marks
}

/// The reason for the status, as one sentence.
pub fn status_reason(call: &Detail, numbers: Numbers) -> String {
    let status = tone::status_text(call.row.status);
    let decisive = call.history.iter().find(|entry| call.decided_by.as_ref() == Some(&entry.event_id));
    let Some(entry) = decisive else {
        let when =
            call.status_updated_at.map(|at| format!(", of {}", format::moment(at))).unwrap_or_default();
        return format!(
            "The status is {status} because of an event{when}, which is no longer among the latest 100 events."
        );
    };
    let at = format::clock(entry.at);
    let others = claims_another_status(&call.history, call.row.status);
    let rest = match call.row.status {
        _ if !others => "",
        Some(status) if status.is_failure() => {
            " A failure overrides every other status; of two failures, the later one counts."
        }
        _ => " No other event claims a later status.",
    };
    let event = format::sender_text(&entry.event_type, numbers);
    format!("The status is {status} because of {event} from {} at {at}.{rest}", source(entry))
}

/// Whether an event claims another status than the one that the call has.
fn claims_another_status(history: &[HistoryEntry], status: Option<Status>) -> bool {
    let word = status.map(Status::as_str);
    history.iter().any(|entry| entry.status.is_some() && entry.status.as_deref() != word)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn entry(at: i64, stored_at: i64, status: Option<Status>, origin: &str) -> HistoryEntry {
        let second = |n| Timestamp::from_second(n).unwrap();
        HistoryEntry {
            event_id: format!("e{at}"),
            event_type: "call.x".to_owned(),
            status: status.map(|status| status.as_str().to_owned()),
            received_status: None,
            origin: Some(origin.to_owned()),
            signature: None,
            at: second(at),
            time_ignored: false,
            stored_at: Some(second(stored_at)),
            of_call: false,
        }
    }

    #[test]
    fn events_with_the_status_of_the_call_claim_no_other() {
        let same = [entry(1, 1, Some(Status::NoAnswer), "twilio"), entry(2, 2, None, "elevenlabs")];
        assert!(!claims_another_status(&same, Some(Status::NoAnswer)));
        assert!(claims_another_status(&same, Some(Status::Busy)));
    }

    #[test]
    fn late_repeated_and_ineffective_events_are_marked() {
        use Status::{Answered, Ended, Ringing};
        let history = [
            entry(1, 30, Some(Ringing), "twilio"),
            entry(5, 6, Some(Answered), "twilio"),
            entry(6, 7, Some(Answered), "elevenlabs"),
            entry(9, 9, Some(Ended), "twilio"),
            entry(10, 10, Some(Ringing), "elevenlabs"),
            entry(11, 11, Some(Status::Initiated), "twilio"),
            entry(12, 12, None, "elevenlabs"),
        ];
        let found: Vec<Vec<_>> = (0..history.len())
            .map(|n| marks(&history, n).into_iter().map(|(mark, _)| mark).collect())
            .collect();
        let expected: [&[&str]; 7] =
            [&["late"], &[], &["duplicate"], &[], &["duplicate"], &["no effect"], &[]];
        assert_eq!(found, expected);
        assert!(marks(&history, 0)[0].1.contains("29 s"), "the mark says how late the event was");
    }
}
