//! How a call turned out, as one sentence. Pure. The sentence says what is stored, and nothing else.

use std::time::Duration;

use super::format;
use crate::domain::call::{Outcome, Status};

/// Most criteria that the sentence names.
const MAX_NAMED: usize = 3;

/// What is known about a call.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// The stored outcome.
    pub outcome: Option<Outcome>,
    /// The status.
    pub status: Option<Status>,
    /// Whether no event ended the call, although it began longer ago than a call can last.
    pub is_stuck: bool,
    /// Length of the conversation.
    pub duration: Option<Duration>,
    /// The kind of party that answered, in the provider's word.
    pub answered_by: Option<&'a str>,
    /// ElevenLabs' analysis: `success`, `failure` or `unknown`.
    pub successful: Option<&'a str>,
    /// Number of evaluation criteria that are met.
    pub criteria_met: usize,
    /// Names of the evaluation criteria that are not met.
    pub criteria_missed: Vec<&'a str>,
}

/// The sentence about a call, with a period.
pub fn sentence(known: &Known) -> String {
    let Some(outcome) = known.outcome.or_else(|| known.status.and_then(Outcome::of_status)) else {
        let stuck = "No event has ended the call, although it began longer ago than a call can last.";
        return if known.is_stuck { stuck } else { in_progress(known.status) }.to_owned();
    };
    let mut parts = vec![beginning(outcome, known)];
    match known.successful {
        Some("success") => parts.push("successful".to_owned()),
        Some("failure") => parts.push("not successful".to_owned()),
        // `unknown`, or no analysis.
        _ => {}
    }
    parts.extend(criteria(known));
    format!("{}.", parts.join("; "))
}

fn in_progress(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Initiated) => "The call is being placed.",
        Some(Status::Ringing) => "The telephone rings.",
        Some(Status::Answered) => "The conversation is in progress.",
        _ => "How the call turned out is not known yet.",
    }
}

fn beginning(outcome: Outcome, known: &Known) -> String {
    let spoken = known.duration.filter(|duration| !duration.is_zero()).map(format::talk_time);
    let text = match (outcome, spoken) {
        (Outcome::Answered, spoken) => {
            let person = if known.answered_by.is_some_and(is_person) { " with a person" } else { "" };
            return match spoken {
                Some(spoken) => format!("Spoke {spoken}{person}"),
                None if person.is_empty() => "The call was answered".to_owned(),
                None => "A person answered".to_owned(),
            };
        }
        (Outcome::Voicemail, Some(spoken)) => return format!("Reached a voicemail, {spoken} long"),
        (Outcome::Voicemail, None) => "Reached a voicemail",
        (Outcome::Busy, _) => "The line was busy",
        (Outcome::NoAnswer, _) => "Nobody answered",
        (Outcome::Rejected, _) => "The call was rejected",
        (Outcome::Unreachable, _) => "The number could not be reached",
        (Outcome::Canceled, _) => "The call was canceled before it was answered",
        (Outcome::Failed, Some(spoken)) => return format!("The call failed after {spoken}"),
        (Outcome::Failed, None) => "The call failed",
        (Outcome::Unknown, _) => "Nobody reported how the call ended",
    };
    text.to_owned()
}

/// Whether the provider's word says that a person answered. Twilio and ElevenLabs say `human`.
fn is_person(answered_by: &str) -> bool {
    answered_by.eq_ignore_ascii_case("human") || answered_by.eq_ignore_ascii_case("person")
}

fn criteria(known: &Known) -> Option<String> {
    let missed = &known.criteria_missed;
    match (known.criteria_met, missed.len()) {
        (0, 0) => None,
        (1, 0) => Some("the criterion is met".to_owned()),
        (met, 0) => Some(format!("all {met} criteria are met")),
        (_, count) => {
            let named = missed[..count.min(MAX_NAMED)].join(", ");
            let more = count.saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Some(format!("not met: {named}{more}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_sentence() {
        #[rustfmt::skip]
        let table = [ // outcome, seconds, answered by, sentence
            (Outcome::Answered,    Some(95), Some("human"), "Spoke 1:35 with a person."),
            (Outcome::Answered,    Some(95), None,          "Spoke 1:35."),
            (Outcome::Answered,    Some(95), Some("unknown"), "Spoke 1:35."),
            (Outcome::Answered,    None,     Some("human"), "A person answered."),
            (Outcome::Answered,    Some(0),  None,          "The call was answered."),
            (Outcome::Voicemail,   Some(12), None,          "Reached a voicemail, 0:12 long."),
            (Outcome::Voicemail,   None,     None,          "Reached a voicemail."),
            (Outcome::Busy,        Some(9),  None,          "The line was busy."),
            (Outcome::NoAnswer,    None,     None,          "Nobody answered."),
            (Outcome::Rejected,    None,     None,          "The call was rejected."),
            (Outcome::Unreachable, None,     None,          "The number could not be reached."),
            (Outcome::Canceled,    None,     None,          "The call was canceled before it was answered."),
            (Outcome::Failed,      Some(7),  None,          "The call failed after 0:07."),
            (Outcome::Failed,      None,     None,          "The call failed."),
            (Outcome::Unknown,     None,     None,          "Nobody reported how the call ended."),
        ];
        for (outcome, seconds, answered_by, expected) in table {
            let known = Known {
                outcome: Some(outcome),
                duration: seconds.map(Duration::from_secs),
                answered_by,
                ..Known::default()
            };
            assert_eq!(sentence(&known), expected, "{outcome:?}");
        }
        for outcome in Outcome::ALL {
            assert!(table.iter().any(|(known, ..)| *known == outcome), "{outcome:?}");
        }
    }

    #[test]
    fn a_call_without_an_outcome_is_told_by_its_status() {
        #[rustfmt::skip]
        let table = [
            (Some(Status::Initiated), "The call is being placed."),
            (Some(Status::Ringing),   "The telephone rings."),
            (Some(Status::Answered),  "The conversation is in progress."),
            (None,                    "How the call turned out is not known yet."),
            // Documents of earlier versions have no outcome.
            (Some(Status::Busy),      "The line was busy."),
            (Some(Status::Ended),     "The call was answered."),
        ];
        for (status, expected) in table {
            assert_eq!(sentence(&Known { status, ..Known::default() }), expected, "{status:?}");
        }
    }

    #[test]
    fn the_analysis_is_told_only_as_far_as_it_goes() {
        let known = |successful, met, missed: &[&'static str]| Known {
            outcome: Some(Outcome::Answered),
            successful,
            criteria_met: met,
            criteria_missed: missed.to_vec(),
            ..Known::default()
        };
        #[rustfmt::skip]
        let table = [
            (known(Some("success"), 0, &[]),                "The call was answered; successful."),
            (known(Some("failure"), 3, &[]),                "The call was answered; not successful; all 3 criteria are met."),
            (known(Some("unknown"), 1, &[]),                "The call was answered; the criterion is met."),
            (known(None, 2, &["recording disclosed"]),      "The call was answered; not met: recording disclosed."),
            (known(None, 0, &["a", "b", "c", "d", "e"]),    "The call was answered; not met: a, b, c and 2 more."),
        ];
        for (known, expected) in table {
            assert_eq!(sentence(&known), expected);
        }
    }
}
