//! Twilio's callbacks: a form, stored as it was posted.
//!
//! Fields as in Twilio's "Status Callback HTTP Parameters". Callbacks may arrive out of order, and
//! their times are whole seconds, so `SequenceNumber` orders those of one second.
//!
//! Recordings, media streams, conferences, transcriptions and answering machine detection have callbacks of
//! their own, without `CallStatus`. They are kept with the call, each kind in a field of its own, so that none
//! takes the place of the last status callback in `rawResponse`.

use std::time::Duration;

use aftercall_common::json;
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use serde_json::{Map, Value};

use super::{
    CallId, Envelope, Event, ParseError, Parties, identifier, names::Names, time, to_millis, words::fold,
};
use crate::domain::{
    call::{Field, Status, failure_reason},
    text::{MAX_PARTY, MAX_REASON, MAX_WORD, cut},
};

/// Most callbacks of one second that are told apart: the milliseconds of that second.
const MAX_SEQUENCE: u64 = 999;
/// Where the parameters of the callback's own URL are in the payload.
const QUERY: &str = "query";

/// Turns the form of a callback, or its JSON, into an event.
pub(super) fn event(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let raw = fields(envelope, body)?;
    let text =
        |field: &str| raw.get(field).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let call_id = identifier::text(&raw, "CallSid")?.map(CallId::new).transpose()?;
    let call_id = call_id.ok_or_else(|| ParseError::NoIdentifier(Names::of(&raw)))?;
    let parent_call_id = raw.get("ParentCallSid").and_then(|id| identifier::lenient(id, CallId::new));
    let parent_call_id = parent_call_id.filter(|parent| *parent != call_id);
    let word = text("CallStatus");
    let (event_type, payload, status) = if let Some(word) = word {
        let unsupported = || ParseError::UnsupportedEvent(cut(word, MAX_WORD), Names::of(&raw));
        let (event_type, status) = status(word).ok_or_else(unsupported)?;
        (event_type, Field::RawResponse, Some(refined(status, text("SipResponseCode"))))
    } else {
        let (event_type, field) = other(&raw);
        (event_type, field, None)
    };
    let reason = status.filter(|status| status.is_failure()).map(|status| {
        let reason = failure_reason(&Map::new(), status);
        match text("SipResponseCode") {
            Some(code) if status == Status::Failed => format!("{reason} (SIP {})", cut(code, MAX_WORD)),
            _ => text("ErrorMessage").map_or(reason, |reason| cut(reason, MAX_REASON)),
        }
    });
    let when = time::of_text(envelope, text("Timestamp"), |timestamp| at(timestamp, text("SequenceNumber")));
    let answered_by = text("AnsweredBy").map(|verdict| (Field::AnsweredBy, cut(verdict, MAX_WORD).into()));
    let is_inbound = text("Direction").is_some_and(|direction| fold(direction) == "inbound");
    let is_leg = is_inbound || parent_call_id.is_some();
    let received_status = word.map(|word| cut(word, MAX_WORD));
    let to_number = text("To").or(text("Called")).map(|number| cut(number, MAX_PARTY));
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
        parent_call_id,
        parties: Parties { to_number, ..Parties::default() },
        at: when.at,
        time_ignored: when.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        is_leg,
        fields: answered_by.into_iter().chain([(payload, Value::Object(raw))]).collect(),
        recording: None,
    })
}

/// The parameters as an object of texts, with those of the URL in an object of their own; of a name given
/// twice the last one counts.
fn fields(envelope: &Envelope, body: &[u8]) -> Result<Map<String, Value>, ParseError> {
    let form = |form: &[u8]| -> Map<String, Value> {
        form_urlencoded::parse(form)
            // BSON has no NUL in names.
            .map(|(name, value)| (name.replace('\0', "\\u0000"), value.into_owned().into()))
            .collect()
    };
    let body = body.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(body);
    let mut fields =
        if body.trim_ascii_start().starts_with(b"{") { json::read_object(body)? } else { form(body) };
    if let Some(query) = envelope.query.as_deref().filter(|query| !query.is_empty()) {
        // No parameter of Twilio has that name.
        fields.insert(QUERY.to_owned(), form(query.as_bytes()).into());
    }
    Ok(fields)
}

/// The word of the history and the status of Twilio's `CallStatus`. Its `completed` is the end of the
/// line, whatever was on it; that a conversation took place is for ElevenLabs to say.
fn status(word: &str) -> Option<(&'static str, Status)> {
    Some(match fold(word).as_str() {
        "queued" => ("twilio.queued", Status::Initiated),
        "initiated" => ("twilio.initiated", Status::Initiated),
        "ringing" => ("twilio.ringing", Status::Ringing),
        "inprogress" => ("twilio.in-progress", Status::Answered),
        "answered" => ("twilio.answered", Status::Answered),
        "completed" => ("twilio.completed", Status::Ended),
        "busy" => ("twilio.busy", Status::Busy),
        "noanswer" => ("twilio.no-answer", Status::NoAnswer),
        "failed" => ("twilio.failed", Status::Failed),
        "canceled" | "cancelled" => ("twilio.canceled", Status::Canceled),
        _ => return None,
    })
}

/// What a callback without `CallStatus` is about: the word of the history, and where its payload is kept.
fn other(raw: &Map<String, Value>) -> (&'static str, Field) {
    let any = |names: &[&str]| names.iter().any(|name| raw.contains_key(*name));
    if any(&["AnsweredBy", "MachineDetectionDuration"]) {
        ("twilio.amd", Field::TwilioAmd)
    } else if any(&["TranscriptionSid", "TranscriptionEvent", "TranscriptionText", "TranscriptionStatus"]) {
        ("twilio.transcription", Field::TwilioTranscription)
    } else if any(&["StreamSid", "StreamEvent", "StreamError"]) {
        ("twilio.stream", Field::TwilioStream)
    } else if any(&["ConferenceSid"]) {
        ("twilio.conference", Field::TwilioConference)
    } else if any(&["RecordingSid", "RecordingUrl", "RecordingStatus"]) {
        ("twilio.recording", Field::TwilioRecording)
    } else {
        ("twilio.other", Field::TwilioOther)
    }
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
fn at(timestamp: &str, sequence: Option<&str>) -> Option<Timestamp> {
    let at = DateTimeParser::new().parse_timestamp(timestamp).ok()?;
    let sequence = sequence.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    at.checked_add(Duration::from_millis(sequence.min(MAX_SEQUENCE))).ok()
}
