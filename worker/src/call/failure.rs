//! Why a call failed, in words: the payload's where it has any, else the status' own.

use serde_json::{Map, Value};

use super::Status;

/// Fields that may hold the reason, the most telling first.
const FIELDS: [&str; 3] = ["failure_reason", "error_message", "message"];

/// The reason `payload` gives for the failure `status`. Empty and blank texts count as absent.
pub fn failure_reason(payload: &Map<String, Value>, status: Status) -> String {
    FIELDS
        .into_iter()
        .filter_map(|field| payload.get(field)?.as_str())
        .map(str::trim)
        .find(|reason| !reason.is_empty())
        .unwrap_or(own_words(status))
        .to_owned()
}

fn own_words(status: Status) -> &'static str {
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
