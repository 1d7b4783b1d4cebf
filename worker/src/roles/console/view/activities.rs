//! The actions of Aftercall for a call, as texts: placing, reconciliation, status lookup, transcript. Pure.

use jiff::Timestamp;

use super::format;
use crate::{domain::time::between, store::views::Detail};

/// The actions of Aftercall for `call`: name and text. `job`: number of attempts to fetch the transcript so
/// far, and the time of the next attempt.
pub fn activities(
    call: &Detail,
    job: Option<(u32, Option<Timestamp>)>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut activities = Vec::new();
    if let Some(placing) = &call.placement {
        let text = match (placing.state.as_str(), &placing.code) {
            ("dialling", _) => "the request to ElevenLabs is in progress".to_owned(),
            ("placed", _) => "accepted by ElevenLabs".to_owned(),
            ("refused", Some(code)) => format!("refused: {}", code.replace('_', " ")),
            ("refused", None) => "refused".to_owned(),
            _ => "it is unknown whether the call was dialled; it will not be dialled again".to_owned(),
        };
        activities.push(("Placing", text));
    }
    let from =
        |origin: &str| call.history.iter().filter(|entry| entry.origin.as_deref() == Some(origin)).count();
    match from("reconciliation") {
        0 => {}
        1 => activities.push(("Reconciliation", "published one missing event".to_owned())),
        n => activities.push(("Reconciliation", format!("published {n} missing events"))),
    }
    match from("lookup") {
        0 => {}
        n => activities.push(("Status lookup", format!("got the status from ElevenLabs {}", times(n)))),
    }
    if let Some(text) = transcript(call, job, now) {
        activities.push(("Transcript", text));
    }
    activities
}

fn transcript(call: &Detail, job: Option<(u32, Option<Timestamp>)>, now: Timestamp) -> Option<String> {
    let after = |at| {
        call.pending_since.map(|since| format!(", {} after it was due", format::delay(between(since, at))))
    };
    match call.row.transcript.as_deref()? {
        "saved" => Some(match call.fetched {
            Some((at, tries)) => {
                let tries = usize::try_from(tries).unwrap_or(usize::MAX);
                format!("fetched; asked {}{}", times(tries), after(at).unwrap_or_default())
            }
            None => "arrived with a webhook".to_owned(),
        }),
        "unavailable" => Some("not available".to_owned()),
        _ => {
            let since = call
                .pending_since
                .map(|since| format!(" for {}", format::age(since, now)))
                .unwrap_or_default();
            let asked = match job {
                Some((tries, next)) => {
                    let next = next
                        .map(|next| format!(", next attempt at {}", format::clock(next)))
                        .unwrap_or_default();
                    format!("; asked {}{next}", times(usize::try_from(tries).unwrap_or(usize::MAX)))
                }
                None => String::new(),
            };
            Some(format!("pending{since}{asked}"))
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
