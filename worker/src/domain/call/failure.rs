//! Determines why a call failed.
//!
//! The reason is a text of the payload, or else a text for the status. Metrics show only its class, because the text of a
//! sender may contain names and telephone numbers.

use serde_json::{Map, Value};

use super::Status;
use crate::domain::text::{MAX_REASON, cut};

/// Fields that may hold the reason, in the order in which they are tried.
const FIELDS: [&str; 3] = ["failure_reason", "error_message", "message"];

/// The reason of the failure `status`, cut to 1,000 characters: the first text of the payload that is not blank. Without
/// one, a text for the status.
pub fn failure_reason(payload: &Map<String, Value>, status: Status) -> String {
    let given = FIELDS
        .into_iter()
        .filter_map(|field| payload.get(field)?.as_str())
        .map(str::trim)
        .find(|reason| !reason.is_empty());
    cut(given.unwrap_or(default_reason(status)), MAX_REASON)
}

/// The reason of a failure whose payload gives none.
fn default_reason(status: Status) -> &'static str {
    match status {
        Status::InitiationFailed => "Call could not be initiated",
        Status::Busy => "Recipient was busy",
        Status::NoAnswer => "No answer from recipient",
        Status::Canceled => "Call was canceled",
        Status::Unreachable => "Recipient was unreachable",
        Status::Rejected => "Call was rejected by recipient",
        Status::Failed
        | Status::Initiated
        | Status::Ringing
        | Status::Answered
        | Status::Completed
        | Status::Ended => "Call failed",
    }
}

/// The classes of reasons, each with the words by which it is recognized. The first class that fits is used.
const CLASSES: [(&str, &[&str]); 11] = [
    ("voicemail", &["voicemail", "voice mail", "machine"]),
    ("no_answer", &["no answer", "no-answer", "no_answer", "not answer", "unanswered", "not picked up"]),
    ("busy", &["busy"]),
    ("canceled", &["cancel"]),
    ("rejected", &["reject", "declin"]),
    (
        "invalid_number",
        &["invalid number", "not a valid", "invalid 'to'", "unallocated", "number format", "does not exist"],
    ),
    ("not_permitted", &["permission", "unauthor", "forbidden", "not allowed", "blocked", "denied"]),
    ("limit", &["limit", "quota", "credit", "balance", "concurren", "too many"]),
    ("unreachable", &["unreachable", "not reach", "unavailable", "out of service", "not in service"]),
    ("timeout", &["timeout", "timed out", "time out"]),
    ("carrier", &["carrier", "network", "trunk", "sip", "gateway"]),
];

/// Every class.
pub const FAILURE_CLASSES: [&str; 12] = {
    let mut classes = ["other"; 12];
    let mut n = 0;
    while n < CLASSES.len() {
        classes[n] = CLASSES[n].0;
        n += 1;
    }
    classes
};

/// The class of a reason: one of [`FAILURE_CLASSES`].
pub fn failure_class(reason: &str) -> &'static str {
    let reason = reason.to_lowercase();
    let class = CLASSES.iter().find(|(_, words)| words.iter().any(|word| reason.contains(word)));
    class.map_or("other", |(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_reason_decide_its_class() {
        #[rustfmt::skip]
        let table = [
            ("No answer from recipient",        "no_answer"),
            ("no-answer",                       "no_answer"),
            ("Recipient was busy",              "busy"),
            ("Call was rejected by recipient",  "rejected"),
            ("Recipient was unreachable",       "unreachable"),
            ("Call was canceled",               "canceled"),
            ("SIP 503 from the trunk",          "carrier"),
            ("The number +15005550001 is not a valid phone number", "invalid_number"),
            ("Concurrency limit reached",       "limit"),
            ("Reached voicemail",               "voicemail"),
            ("Call could not be initiated",     "other"),
            ("Permission to dial is missing",   "not_permitted"),
            ("The request timed out",           "timeout"),
            ("Call failed",                     "other"),
            ("",                                "other"),
        ];
        for (reason, expected) in table {
            assert_eq!(failure_class(reason), expected, "{reason}");
            assert!(FAILURE_CLASSES.contains(&expected));
        }
    }
}
