//! Twilio's status callbacks: a form, stored as it was posted.
//!
//! Fields as in Twilio's "Status Callback HTTP Parameters". Callbacks may arrive out of order, and
//! their times are whole seconds, so `SequenceNumber` orders those of one second.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use serde_json::{Map, Value};

use super::{CallId, Envelope, Event, ParseError, Parties, cut, identifier, to_millis};
use crate::call::{Field, Status, failure_reason};

/// Most callbacks of one second that are told apart: the milliseconds of that second.
const MAX_SEQUENCE: u64 = 999;

/// Turns the form of a status callback, or its JSON, into an event.
pub(super) fn event(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let raw = fields(body)?;
    let text =
        |field: &str| raw.get(field).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let call_id = identifier::text(&raw, "CallSid")?.map(CallId::new).transpose()?;
    let call_id = call_id.ok_or(ParseError::NoIdentifier)?;
    let (word, answered_by) = (text("CallStatus"), text("AnsweredBy"));
    let (event_type, status) = match word {
        Some(word) => {
            let (event_type, status) = status(word).ok_or_else(|| ParseError::UnsupportedEvent(cut(word)))?;
            (event_type, Some(refined(status, text("SipResponseCode"))))
        }
        // The asynchronous verdict of an answering machine detection has no status.
        None if answered_by.is_some() => ("twilio.amd", None),
        None => return Err(ParseError::UnsupportedEvent(String::new())),
    };
    let reason = status.filter(|status| status.is_failure()).map(|status| {
        let reason = failure_reason(&Map::new(), status);
        match text("SipResponseCode") {
            Some(code) if status == Status::Failed => format!("{reason} (SIP {})", cut(code)),
            _ => text("ErrorMessage").map_or(reason, str::to_owned),
        }
    });
    let at = at(text("Timestamp"), text("SequenceNumber")).unwrap_or(envelope.stored_at);
    let verdict = answered_by.map(|verdict| (Field::AnsweredBy, Value::from(cut(verdict))));
    let (received_status, to_number) = (word.map(cut), text("To").or(text("Called")).map(str::to_owned));
    Ok(Event {
        id: envelope.id.clone(),
        event_type,
        origin: envelope.origin,
        signature: envelope.signature.clone(),
        status,
        received_status,
        failure_reason: reason,
        call_id: Some(call_id),
        conversation_id: None,
        placement_id: None,
        parties: Parties { to_number, ..Parties::default() },
        at: to_millis(at),
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        fields: verdict.into_iter().chain([(Field::RawResponse, Value::Object(raw))]).collect(),
        recording: None,
    })
}

/// The parameters as an object of texts; of a name given twice the last one counts.
fn fields(body: &[u8]) -> Result<Map<String, Value>, ParseError> {
    if body.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(body)
            .map_err(|error| ParseError::InvalidJson { line: error.line(), column: error.column() });
    }
    Ok(form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect())
}

/// The word of the history and the status of Twilio's `CallStatus`. Its `completed` is the end of the
/// line, whatever was on it; that a conversation took place is for ElevenLabs to say.
fn status(word: &str) -> Option<(&'static str, Status)> {
    Some(match word {
        "queued" => ("twilio.queued", Status::Initiated),
        "initiated" => ("twilio.initiated", Status::Initiated),
        "ringing" => ("twilio.ringing", Status::Ringing),
        "in-progress" => ("twilio.in-progress", Status::Answered),
        "answered" => ("twilio.answered", Status::Answered),
        "completed" => ("twilio.completed", Status::Ended),
        "busy" => ("twilio.busy", Status::Busy),
        "no-answer" => ("twilio.no-answer", Status::NoAnswer),
        "failed" => ("twilio.failed", Status::Failed),
        "canceled" => ("twilio.canceled", Status::Canceled),
        _ => return None,
    })
}

/// What a SIP code tells of a call that merely `failed` (RFC 3261, section 21). Other words are
/// Twilio's own verdict and stand: it sends 487 with `busy`, for one.
fn refined(status: Status, sip_code: Option<&str>) -> Status {
    match (status, sip_code) {
        (Status::Failed, Some("486" | "600")) => Status::Busy,
        (Status::Failed, Some("603" | "607")) => Status::Rejected,
        (Status::Failed, Some("404" | "410" | "480" | "484" | "604")) => Status::Unreachable,
        (Status::Failed, Some("408" | "487")) => Status::NoAnswer,
        (status, _) => status,
    }
}

/// `Timestamp` (RFC 2822), with `SequenceNumber` as its milliseconds.
fn at(timestamp: Option<&str>, sequence: Option<&str>) -> Option<Timestamp> {
    let at = DateTimeParser::new().parse_timestamp(timestamp?).ok()?;
    let sequence = sequence.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    at.checked_add(Duration::from_millis(sequence.min(MAX_SEQUENCE))).ok()
}
