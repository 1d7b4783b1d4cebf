//! What Aftercall did for a call, as texts: placing, reconciliation, status lookup, transcript. Pure.

use jiff::Timestamp;

use super::format;
use crate::{domain::time::between, roles::api::DIALLING_TIMEOUT, store::views::Detail};

/// What Aftercall did for `call`: a name and a text for each kind of step. `job`: number of attempts to fetch the transcript,
/// and time of the next attempt. `None`: no attempt is scheduled.
pub fn activities(
    call: &Detail,
    job: Option<(u32, Option<Timestamp>)>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut activities = Vec::new();
    if let Some(placing) = &call.placement {
        let text = match (placing.state.as_str(), &placing.code) {
            ("dialling", _) if between(placing.at, now) < DIALLING_TIMEOUT => {
                "the request to ElevenLabs is in progress".to_owned()
            }
            ("placed", _) => "accepted by ElevenLabs".to_owned(),
            ("refused", Some(code)) => format!("refused: {}", code.replace('_', " ")),
            ("refused", None) => "given up: ElevenLabs has no conversation for this request".to_owned(),
            _ => "it is unknown whether the call was dialled; it will not be dialled again".to_owned(),
        };
        activities.push(("Placing", text));
    }
    let from =
        |origin: &str| call.history.iter().filter(|entry| entry.origin.as_deref() == Some(origin)).count();
    match from("reconciliation") {
        0 => {}
        1 => activities.push(("Reconciliation", "added one event".to_owned())),
        n => activities.push(("Reconciliation", format!("added {n} events"))),
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
        call.pending_since
            .map(|since| format!(", {} after it became pending", format::delay(between(since, at))))
    };
    match call.row.transcript.as_deref()? {
        "saved" => Some(match call.fetched {
            Some((at, tries)) => {
                let tries = usize::try_from(tries).unwrap_or(usize::MAX);
                format!("fetched; asked {}{}", times(tries), after(at).unwrap_or_default())
            }
            None => "arrived with an event".to_owned(),
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
                        .map(|next| format!(", next attempt at {}", format::moment(next)))
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
