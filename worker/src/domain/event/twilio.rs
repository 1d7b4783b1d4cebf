//! Twilio's callbacks: a form, or JSON.
//!
//! Twilio documents the fields on the page "Status Callback HTTP Parameters". Callbacks may arrive out of
//! order, and their times are whole seconds. So `SequenceNumber` orders the callbacks of one second.
//!
//! Recordings, media streams, conferences, transcriptions and answering machine detection have callbacks
//! without `CallStatus`. Each kind has a field of its own in the document, so that it does not replace the
//! last status callback in `rawResponse`.

use std::time::Duration;

use aftercall_common::json;
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use serde_json::{Map, Value};

use super::{
    call_event::Event,
    connection::{is_inbound, set, set_direction, set_sip_code},
    envelope::Envelope,
    error::ParseError,
    field_names::FieldNames,
    identifier::{self, CallId},
    parties::{Parties, one_spelling},
    spelling::normalize,
    time::{self, to_millis},
};
use crate::domain::{
    call::{Evidence, Fact, Facts, Field, Status, failure_reason, outcome, status_of_sip_code},
    text::{MAX_PARTY, MAX_REASON, MAX_WORD, cut},
};

/// Largest sequence number that orders callbacks of one second: it is stored as the milliseconds of the
/// second.
const MAX_SEQUENCE: u64 = 999;
/// The field of the payload that keeps the parameters of the callback's URL.
const QUERY_FIELD: &str = "query";

/// Turns the body of a callback into an event.
///
/// # Errors
/// The body names no call, or its `CallStatus` is unknown.
pub(super) fn event(envelope: &Envelope, body: &[u8]) -> Result<Event, ParseError> {
    let raw = fields(envelope, body)?;
    let text =
        |field: &str| raw.get(field).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let call_id = identifier::read(&raw, "CallSid")?.map(CallId::new).transpose()?;
    let call_id = call_id.ok_or_else(|| ParseError::NoIdentifier(FieldNames::of(&raw)))?;
    let parent_call_id = raw.get("ParentCallSid").and_then(|id| identifier::lenient_id(id, CallId::new));
    let parent_call_id = parent_call_id.filter(|parent| *parent != call_id);
    let word = text("CallStatus");
    let (event_type, payload, status) = if let Some(word) = word {
        let unsupported = || ParseError::UnsupportedEvent(cut(word, MAX_WORD), FieldNames::of(&raw));
        let (event_type, status) = status(word).ok_or_else(unsupported)?;
        (event_type, Field::RawResponse, Some(refined(status, text("SipResponseCode"))))
    } else {
        let (event_type, field) = kind_without_status(&raw);
        (event_type, field, None)
    };
    let reason = status.filter(|status| status.is_failure()).map(|status| {
        let reason = failure_reason(&Map::new(), status);
        match text("SipResponseCode") {
            Some(code) if status == Status::Failed => format!("{reason} (SIP {})", cut(code, MAX_WORD)),
            _ => text("ErrorMessage").map_or(reason, |reason| cut(reason, MAX_REASON)),
        }
    });
    let event_time =
        time::of_text(envelope, text("Timestamp"), |timestamp| at(timestamp, text("SequenceNumber")));
    let answered_by = text("AnsweredBy").map(|word| (Field::AnsweredBy, cut(word, MAX_WORD).into()));
    let is_inbound = text("Direction").and_then(is_inbound);
    let is_leg = is_inbound == Some(true) || parent_call_id.is_some();
    let received_status = word.map(|word| cut(word, MAX_WORD));
    let to_number = text("To").or(text("Called")).map(|number| one_spelling(&cut(number, MAX_PARTY)));
    let facts = facts(&text, is_inbound);
    let outcome = outcome(&Evidence {
        status,
        result: word.map(normalize),
        sip_code: text("SipResponseCode").map(str::to_owned),
        answered_by: text("AnsweredBy").map(normalize),
    });
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
        facts,
        outcome,
        at: event_time.at,
        time_ignored: event_time.ignored,
        stored_at: to_millis(envelope.stored_at),
        began_at: None,
        concluded_at: None,
        ends_conversation: status.is_some_and(Status::ends_conversation),
        is_leg,
        fields: answered_by.into_iter().chain([(payload, Value::Object(raw))]).collect(),
        has_audio: false,
        recording: None,
    })
}

/// The facts that a callback states.
fn facts<'a>(text: &impl Fn(&str) -> Option<&'a str>, is_inbound: Option<bool>) -> Facts {
    let mut facts = Facts::new();
    set(&mut facts, Fact::Channel, Some("twilio"), MAX_WORD);
    set_direction(&mut facts, is_inbound);
    let from_number = text("From").or(text("Caller")).map(one_spelling);
    set(&mut facts, Fact::FromNumber, from_number.as_deref(), MAX_PARTY);
    set_sip_code(&mut facts, text("SipResponseCode"));
    facts
}

/// The parameters of the body, and the parameters of the URL in an object [`QUERY_FIELD`]. If a name is
/// repeated, the last value is kept.
fn fields(envelope: &Envelope, body: &[u8]) -> Result<Map<String, Value>, ParseError> {
    let form = |form: &[u8]| -> Map<String, Value> {
        form_urlencoded::parse(form)
            // A field name in BSON cannot hold NUL.
            .map(|(name, value)| (name.replace('\0', "\\u0000"), value.into_owned().into()))
            .collect()
    };
    let body = body.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(body);
    let mut fields =
        if body.trim_ascii_start().starts_with(b"{") { json::read_object(body)? } else { form(body) };
    if let Some(query) = envelope.query.as_deref().filter(|query| !query.is_empty()) {
        // Twilio has no parameter of this name.
        fields.insert(QUERY_FIELD.to_owned(), form(query.as_bytes()).into());
    }
    Ok(fields)
}

/// The event type for the history and the status that belong to a `CallStatus`. Twilio's `completed` only
/// means that the line is closed, so it becomes `ended`: only ElevenLabs knows whether there was a
/// conversation.
fn status(word: &str) -> Option<(&'static str, Status)> {
    Some(match normalize(word).as_str() {
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

/// The event type of a callback without `CallStatus`, and the field that keeps its payload.
fn kind_without_status(raw: &Map<String, Value>) -> (&'static str, Field) {
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

/// Refines `failed` by the SIP code. Twilio also calls a rejected call busy. Every other status stays, because
/// Twilio has decided it already: for example, it sends 487 with `busy`.
fn refined(status: Status, sip_code: Option<&str>) -> Status {
    match (status, sip_code.and_then(status_of_sip_code)) {
        (Status::Failed, Some(refined)) => refined,
        (Status::Busy, Some(Status::Rejected)) => Status::Rejected,
        (status, _) => status,
    }
}

/// The time in `Timestamp` (RFC 2822), with `SequenceNumber` as its milliseconds.
fn at(timestamp: &str, sequence: Option<&str>) -> Option<Timestamp> {
    let at = DateTimeParser::new().parse_timestamp(timestamp).ok()?;
    let sequence = sequence.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    at.checked_add(Duration::from_millis(sequence.min(MAX_SEQUENCE))).ok()
}
