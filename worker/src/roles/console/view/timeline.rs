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
/// Shortest delay of an event that counts as an exception. Sources report the same call side by side, so their events
/// often overtake each other by a few seconds.
const LATE: Duration = Duration::from_secs(10);

/// One event of the history, as texts.
#[derive(Debug)]
pub struct Step {
    pub clock: String,
    pub iso: String,
    pub moment: String,
    /// The date, if the event is the first one of its day.
    pub day: Option<String>,
    /// What was reported, in plain words.
    pub event: String,
    /// The type of the event, as the history has it.
    pub event_type: String,
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
    /// Explanations of the event.
    pub marks: Vec<Mark>,
}

/// An explanation of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark {
    /// A label, if the event is an exception. Normal calls have none.
    pub tag: Option<&'static str>,
    pub text: String,
}

impl Step {
    /// The labels of the event.
    pub fn tags(&self) -> impl Iterator<Item = &'static str> {
        self.marks.iter().filter_map(|mark| mark.tag)
    }
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
                event: format::sender_text(&event_words(&entry.event_type), numbers),
                event_type: format::sender_text(&entry.event_type, numbers),
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

/// The type of an event in plain words.
fn event_words(event_type: &str) -> String {
    match event_type {
        "post_call_transcription" => "report of the conversation".to_owned(),
        "post_call_audio" => "recording".to_owned(),
        "call_initiation_failure" => "not connected".to_owned(),
        "answering_machine_detection" | "twilio.amd" => "answering machine detection".to_owned(),
        other => {
            let word = other.strip_prefix("call.").or_else(|| other.strip_prefix("twilio.")).unwrap_or(other);
            word.replace(['_', '-'], " ")
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

fn marks(history: &[HistoryEntry], n: usize) -> Vec<Mark> {
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
        let tag = (delay >= LATE).then_some("late");
        marks.push(Mark { tag, text: format!("It arrived after later events{by}.") });
    }
    let before = &history[..n];
    let is_same = |other: &&HistoryEntry| other.status == entry.status && other.status.is_some();
    if let Some(first) = before.iter().find(is_same) {
        let (tag, text) = if first.origin == entry.origin {
            (Some("repeated"), "The same source had already reported this.")
        } else {
            (None, "Another source had already reported this.")
        };
        marks.push(Mark { tag, text: text.to_owned() });
    } else if let (Some(own), Some(reached)) = (rank(entry), before.iter().filter_map(rank).max())
        && own < reached
    {
        let text = "The call was already further, and its status never moves back.".to_owned();
        marks.push(Mark { tag: None, text });
    }
    match entry.signature.as_deref() {
        Some("edited") => {
            marks.push(Mark {
                tag: Some("edited"),
                text: "An operator edited it before it was applied.".to_owned(),
            });
        }
        _ if entry.time_ignored => {
            let text = "The time that it states is not usable, so the time of its arrival counts.".to_owned();
            marks.push(Mark { tag: Some("time unknown"), text });
        }
        _ => {}
    }
    marks
}

/// The reason for the status, as one sentence.
pub fn status_reason(call: &Detail) -> String {
    let status = tone::status_text(call.row.status);
    let decisive = call.history.iter().find(|entry| call.decided_by.as_ref() == Some(&entry.event_id));
    let Some(entry) = decisive else {
        let when =
            call.status_updated_at.map(|at| format!(", of {}", format::moment(at))).unwrap_or_default();
        return format!(
            "The status {status} comes from an event{when}, which is no longer among the latest 100 events."
        );
    };
    let at = format::clock(entry.at);
    let rest = call.row.status.map(|status| precedence(&call.history, status)).unwrap_or_default();
    let reported = call.row.status.map_or("another status", claim);
    format!("{} reported at {at} {reported}.{rest}", reporter(entry))
}

/// The source as the subject of a sentence.
fn reporter(entry: &HistoryEntry) -> &'static str {
    match source(entry) {
        "Status lookup" => "A status lookup",
        "Placed through Aftercall" => "Aftercall",
        "Source unknown" => "An unknown source",
        source => source,
    }
}

/// What an event with this status reports.
fn claim(status: Status) -> &'static str {
    match status {
        Status::Initiated => "that the call was placed",
        Status::Ringing => "that the telephone rang",
        Status::Answered => "that the call was answered",
        Status::Completed => "that the conversation was complete",
        Status::Ended => "that the call had ended",
        Status::InitiationFailed => "that the call could not be placed",
        Status::Busy => "that the line was busy",
        Status::NoAnswer => "that nobody answered",
        Status::Failed => "that the call had failed",
        Status::Canceled => "that the call was canceled",
        Status::Unreachable => "that the number could not be reached",
        Status::Rejected => "that the call was rejected",
    }
}

/// Why `status` counts, and not another status that an event claims, as a sentence that follows another. Empty if no
/// event claims another status.
fn precedence(history: &[HistoryEntry], status: Status) -> &'static str {
    let claimed = history.iter().filter_map(|entry| entry.status.as_deref().and_then(Status::from_word));
    let others: Vec<_> = claimed.filter(|other| *other != status).collect();
    if others.is_empty() {
        ""
    } else if !status.is_failure() {
        " No event claims a status beyond it."
    } else if others.iter().any(|other| other.rank() == status.rank()) {
        " Of two such failures, the one with the later time counts."
    } else if others.iter().any(|other| other.is_failure()) {
        " Another event says only that the call failed; the more specific failure counts."
    } else {
        " A failure overrides every other status."
    }
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
            names_call_alone: false,
        }
    }

    #[test]
    fn the_status_is_explained_by_the_rule_that_chose_it() {
        use Status::{Answered, Busy, Ended, Failed, InitiationFailed, NoAnswer};
        let table: [(&[Status], Status, &str); 6] = [
            (&[NoAnswer], NoAnswer, ""),
            (&[Answered, Ended], Ended, " No event claims a status beyond it."),
            (&[Answered, Failed], Failed, " A failure overrides every other status."),
            (
                &[InitiationFailed, Busy],
                Busy,
                " Another event says only that the call failed; the more specific failure counts.",
            ),
            (&[NoAnswer, Busy], Busy, " Of two such failures, the one with the later time counts."),
            (
                &[Failed, InitiationFailed],
                InitiationFailed,
                " Of two such failures, the one with the later time counts.",
            ),
        ];
        for (claims, status, expected) in table {
            let history: Vec<_> = claims.iter().map(|claim| entry(1, 1, Some(*claim), "twilio")).collect();
            assert_eq!(precedence(&history, status), expected, "{claims:?}");
        }
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
            .map(|n| marks(&history, n).into_iter().map(|mark| (mark.tag, mark.text)).collect())
            .collect();
        let late = "It arrived after later events, 29 s after it happened.";
        let (other, further) = (
            "Another source had already reported this.",
            "The call was already further, and its status never moves back.",
        );
        let expected = [
            Some((Some("late"), late)),
            None,
            Some((None, other)),
            None,
            Some((None, other)),
            Some((None, further)),
            None,
        ];
        let expected = expected
            .map(|mark| mark.map(|(tag, text)| (tag, text.to_owned())).into_iter().collect::<Vec<_>>());
        assert_eq!(found, expected);
    }

    #[test]
    fn only_exceptions_have_tags() {
        let of_edited = HistoryEntry { signature: Some("edited".to_owned()), ..entry(1, 1, None, "twilio") };
        let of_unknown_time = HistoryEntry { time_ignored: true, ..entry(1, 1, None, "twilio") };
        let repeated =
            [entry(1, 1, Some(Status::Ringing), "twilio"), entry(2, 2, Some(Status::Ringing), "twilio")];
        let overtaken =
            [entry(1, 3, Some(Status::Ringing), "twilio"), entry(2, 2, Some(Status::Answered), "elevenlabs")];
        let tags = |history: &[HistoryEntry], n| {
            marks(history, n).into_iter().map(|mark| mark.tag).collect::<Vec<_>>()
        };
        assert_eq!(tags(&[of_edited], 0), [Some("edited")]);
        assert_eq!(tags(&[of_unknown_time], 0), [Some("time unknown")]);
        assert_eq!(tags(&repeated, 1), [Some("repeated")]);
        assert_eq!(tags(&overtaken, 0), [None], "two seconds are no exception");
    }

    #[test]
    fn event_types_are_told_in_plain_words() {
        for (event_type, words) in [
            ("twilio.in-progress", "in progress"),
            ("call.no_answer", "no answer"),
            ("post_call_transcription", "report of the conversation"),
            ("other_thing", "other thing"),
        ] {
            assert_eq!(event_words(event_type), words);
        }
    }
}
