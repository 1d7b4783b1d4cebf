//! What happened to a call, and why its status is what it is. Pure.

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use jiff::Timestamp;

use super::format::{self, Tone};
use crate::{
    domain::{
        call::{HistoryEntry, Status},
        time::between,
    },
    store::views::Detail,
};

/// Delay from which on it is said.
const NOTICEABLE: Duration = Duration::from_secs(2);

/// One event, in words.
#[derive(Debug)]
pub struct Step {
    pub clock: String,
    pub iso: String,
    pub moment: String,
    /// Where it is the first of its day.
    pub day: Option<String>,
    pub event: String,
    pub source: &'static str,
    pub verdict: String,
    /// The claimed status.
    pub status: Option<&'static str>,
    pub glyph: &'static str,
    pub tone: &'static str,
    /// The sender's own word, where it says something else.
    pub received: Option<String>,
    pub decides: bool,
    /// What is out of the ordinary, and what that means.
    pub marks: Vec<(&'static str, String)>,
}

/// The events of `call` in the order of their own time.
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
            let word = status.map(|status| format::status(Some(status)));
            let received = entry.received_status.as_deref();
            let received = received.filter(|received| Some(*received) != entry.status.as_deref());
            Step {
                clock: format::clock(entry.at),
                iso: entry.at.to_string(),
                moment: format::moment(entry.at),
                day: is_new_day.then_some(today),
                event: format::sent(&entry.event_type, numbers),
                source: source(entry),
                verdict: entry.signature.as_deref().map(verdict).unwrap_or_default(),
                status: word,
                glyph: word.map_or("note", |_| format::glyph(status)),
                tone: word.map_or("note", |_| Tone::of(status).class()),
                received: received.map(|received| format::sent(received, numbers)),
                decides: call.decided_by.as_ref() == Some(&entry.event_id),
                marks: marks(history, n),
            }
        })
        .collect()
}

fn source(entry: &HistoryEntry) -> &'static str {
    match entry.origin.as_deref() {
        Some("elevenlabs") => "ElevenLabs",
        Some("twilio") => "Twilio",
        Some("reconciliation") => "Reconciliation",
        Some("lookup") => "Status lookup",
        Some("placement") => "Placed through us",
        _ => "Source not kept",
    }
}

fn verdict(word: &str) -> String {
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
        let by = if delay >= NOTICEABLE {
            format!(", {} after it happened", format::wait(delay))
        } else {
            String::new()
        };
        marks.push(("late", format!("came after later events{by}")));
    }
    let before = &history[..n];
    let is_same = |other: &&HistoryEntry| other.status == entry.status && other.status.is_some();
    if let Some(first) = before.iter().find(is_same) {
        let again = if first.origin == entry.origin {
            "the same source had said so"
        } else {
            "another source had said so"
        };
        marks.push(("duplicate", again.to_owned()));
    } else if let (Some(own), Some(reached)) = (rank(entry), before.iter().filter_map(rank).max())
        && own < reached
    {
        marks.push(("no effect", "the call was further already: a status only moves forward".to_owned()));
    }
    marks
}

/// Why the status is what it is, in one sentence.
pub fn why(call: &Detail, numbers: Numbers) -> String {
    let status = format::status(call.row.status);
    let decisive = call.history.iter().find(|entry| call.decided_by.as_ref() == Some(&entry.event_id));
    let Some(entry) = decisive else {
        let when =
            call.status_updated_at.map(|at| format!(", of {}", format::moment(at))).unwrap_or_default();
        return format!("It is {status} by an event{when} that is no longer among the latest hundred.");
    };
    let at = format::clock(entry.at);
    let others = call.history.iter().any(|other| {
        other.event_id != entry.event_id && other.status.as_deref().is_some_and(|word| word != status)
    });
    let rest = match call.row.status {
        _ if !others => "",
        Some(status) if status.is_failure() => " A failure prevails over every step; of two, the later.",
        _ => " No other event claims a later step.",
    };
    let event = format::sent(&entry.event_type, numbers);
    format!("It is {status} because of {event} from {} at {at}.{rest}", source(entry))
}

/// What it took to learn all this: placing, asking, waiting.
pub fn efforts(
    call: &Detail,
    job: Option<(u32, Option<Timestamp>)>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut efforts = Vec::new();
    if let Some(placing) = &call.placement {
        let text = match (placing.state.as_str(), &placing.code) {
            ("dialling", _) => "ElevenLabs is being asked, once".to_owned(),
            ("placed", _) => "ElevenLabs took it".to_owned(),
            ("refused", Some(code)) => format!("refused: {}", code.replace('_', " ")),
            ("refused", None) => "refused".to_owned(),
            _ => "nobody knows whether it was dialled; it will not be dialled again".to_owned(),
        };
        efforts.push(("Placing", text));
    }
    let from =
        |origin: &str| call.history.iter().filter(|entry| entry.origin.as_deref() == Some(origin)).count();
    match from("reconciliation") {
        0 => {}
        1 => efforts.push(("Reconciliation", "made up for one webhook that never came".to_owned())),
        n => efforts.push(("Reconciliation", format!("made up for {n} webhooks that never came"))),
    }
    match from("lookup") {
        0 => {}
        n => efforts.push(("Status lookup", format!("learned {} from ElevenLabs", times(n)))),
    }
    if let Some(text) = transcript(call, job, now) {
        efforts.push(("Transcript", text));
    }
    efforts
}

fn transcript(call: &Detail, job: Option<(u32, Option<Timestamp>)>, now: Timestamp) -> Option<String> {
    let after =
        |at| call.pending_since.map(|owed| format!(", {} after it was due", format::wait(between(owed, at))));
    match call.row.transcript.as_deref()? {
        "saved" => Some(match call.fetched {
            Some((at, tries)) => {
                let tries = usize::try_from(tries).unwrap_or(usize::MAX);
                format!("fetched by asking {}{}", times(tries), after(at).unwrap_or_default())
            }
            None => "came with a webhook".to_owned(),
        }),
        "unavailable" => Some("given up".to_owned()),
        _ => {
            let since = call
                .pending_since
                .map(|since| format!(" for {}", format::age(since, now)))
                .unwrap_or_default();
            let asked = match job {
                Some((tries, next)) => {
                    let next =
                        next.map(|next| format!(", again at {}", format::clock(next))).unwrap_or_default();
                    format!("; asked {}{next}", times(usize::try_from(tries).unwrap_or(usize::MAX)))
                }
                None => String::new(),
            };
            Some(format!("owed{since}{asked}"))
        }
    }
}

fn times(n: usize) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_late_said_again_or_without_effect_is_marked() {
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
        assert!(marks(&history, 0)[0].1.contains("29 s"), "how late");
    }
}
