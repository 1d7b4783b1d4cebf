//! Callbacks of Twilio.

use super::*;

#[test]
fn each_kind_of_callback_without_a_status_has_a_field_of_its_own() {
    #[rustfmt::skip]
    let table = [
        ("RecordingSid=RE0&RecordingStatus=completed&RecordingUrl=u", "twilio.recording",     Field::TwilioRecording),
        ("StreamSid=MZ0&StreamEvent=stream-error&StreamError=31921",  "twilio.stream",        Field::TwilioStream),
        ("ConferenceSid=CF0&StatusCallbackEvent=participant-leave",   "twilio.conference",    Field::TwilioConference),
        ("ConferenceSid=CF0&RecordingUrl=u",                          "twilio.conference",    Field::TwilioConference),
        ("TranscriptionSid=GT0&TranscriptionEvent=x",                 "twilio.transcription", Field::TwilioTranscription),
        ("AnsweredBy=human",                                          "twilio.amd",           Field::TwilioAmd),
        ("CallStatus=&Something=1",                                   "twilio.other",         Field::TwilioOther),
    ];
    for (form, event_type, field) in table {
        let event = twilio(&format!("CallSid=CA1&{form}")).unwrap();
        assert_eq!((event.event_type, event.status), (event_type, None), "{form}");
        assert_eq!(event.fields[&field]["CallSid"], "CA1", "{form}");
        assert!(!event.fields.contains_key(&Field::RawResponse), "{form}");
        let nobody = twilio(form).unwrap_err();
        assert_eq!(nobody.reason().label(), "no_identifier", "{form}");
        assert!(nobody.to_string().contains(form.split('=').next().unwrap()), "{nobody}");
    }
}

#[test]
fn the_parameters_of_a_callbacks_url_are_kept_with_it() {
    let envelope = Envelope {
        query: Some("lead=42&b=%C3%A9&b=x".to_owned()),
        origin: Origin::Webhook(Provider::Twilio),
        ..envelope()
    };
    for body in ["CallSid=CA1&CallStatus=ringing", r#"{"CallSid":"CA1","CallStatus":"ringing"}"#] {
        let event = parse(&envelope, body.as_bytes()).unwrap();
        assert_eq!(event.fields[&Field::RawResponse]["query"], json!({ "lead": "42", "b": "x" }));
    }
}

#[test]
fn the_end_of_a_leg_makes_a_transcript_due_only_with_a_conversation() {
    use crate::domain::call::{CallPatch, TranscriptState};
    #[rustfmt::skip]
    let table = [ // form, parent, owed
        ("Direction=outbound-dial&ParentCallSid=CAp", Some("CAp"), false),
        ("ParentCallSid=+CAp+",                       Some("CAp"), false),
        ("Direction=inbound",                         None,        false),
        ("Direction=Inbound",                         None,        false),
        ("Direction=outbound-api",                    None,        true),
        ("Direction=outbound-api&ParentCallSid=CA1",  None,        true),
        ("ParentCallSid=",                            None,        true),
    ];
    let conversation =
        parse_json(&json!({ "event_type": "call.answered", "call_id": "CA1", "conversation_id": "v" }));
    let conversation = CallPatch::from(conversation.unwrap());
    for (form, parent, owed) in table {
        let event = twilio(&format!("CallSid=CA1&CallStatus=completed&{form}")).unwrap();
        assert_eq!(event.parent_call_id.as_ref().map(CallId::as_str), parent, "{form}");
        let patch = CallPatch::from(event);
        assert_eq!(patch.transcript, owed.then_some(TranscriptState::Pending), "{form}");
        // A conversation has a transcript, whichever of the two events comes first.
        for joined in [patch.clone().join(conversation.clone()), conversation.clone().join(patch.clone())] {
            assert_eq!(joined.transcript, Some(TranscriptState::Pending), "{form}");
            assert_eq!(joined.pending_since, Some(patch.updated_at), "{form}");
        }
    }
}

#[test]
fn sip_codes_refine_a_failed_call_and_no_other_status() {
    #[rustfmt::skip]
    let table = [
        ("queued",      "",    Status::Initiated),
        ("initiated",   "",    Status::Initiated),
        ("ringing",     "",    Status::Ringing),
        ("in-progress", "",    Status::Answered),
        ("completed",   "200", Status::Ended),
        ("busy",        "487", Status::Busy),
        ("no-answer",   "",    Status::NoAnswer),
        ("canceled",    "487", Status::Canceled),
        ("failed",      "",    Status::Failed),
        ("failed",      "486", Status::Busy),
        ("failed",      "603", Status::Rejected),
        ("failed",      "404", Status::Unreachable),
        ("failed",      "480", Status::Unreachable),
        ("failed",      "408", Status::NoAnswer),
        ("failed",      "503", Status::Failed),
    ];
    for (word, code, status) in table {
        let event =
            twilio(&format!("CallSid=CA1&CallStatus={word}&SipResponseCode={code}&To=%2B658")).unwrap();
        assert_eq!(event.status, Some(status), "{word} {code}");
        assert_eq!(event.received_status.as_deref(), Some(word));
        assert_eq!(event.parties.to_number.as_deref(), Some("+658"));
        assert_eq!(event.failure_reason.is_some(), status.is_failure());
    }
    for (form, label) in
        [("CallSid=CA1&CallStatus=paused", "unsupported_event"), ("CallStatus=busy", "no_identifier")]
    {
        assert_eq!(twilio(form).unwrap_err().reason().label(), label);
    }
    let verdict = twilio("CallSid=CA1&AnsweredBy=machine_start").unwrap();
    assert_eq!((verdict.status, &verdict.fields[&Field::AnsweredBy]), (None, &json!("machine_start")));
}

#[test]
fn the_sequence_number_orders_callbacks_of_one_second() {
    let at = |sequence: u32| {
        let time = "Tue%2C+22+Sep+2026+01%3A05%3A00+%2B0000";
        twilio(&format!("CallSid=CA1&CallStatus=ringing&Timestamp={time}&SequenceNumber={sequence}"))
            .unwrap()
            .at
    };
    assert_eq!(at(0), "2026-09-22T01:05:00Z".parse().unwrap());
    assert!(at(1) < at(2) && at(2) < at(10) && at(5000).as_second() == at(0).as_second());
}
