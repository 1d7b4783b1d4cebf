use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::call::{Field, Status};

mod callbacks;
mod facts;

fn envelope() -> Envelope {
    Envelope::new("e1", "2026-09-22T12:00:00.123456Z".parse().unwrap(), Origin::Webhook(Provider::ElevenLabs))
}

fn parse_json(body: &Value) -> Result<Event, ParseError> {
    parse(&envelope(), body.to_string().as_bytes())
}

fn twilio(form: &str) -> Result<Event, ParseError> {
    parse(&Envelope { origin: Origin::Webhook(Provider::Twilio), ..envelope() }, form.as_bytes())
}

#[test]
fn every_event_has_its_status() {
    #[rustfmt::skip]
    let table = [
        ("call.initiated",          "initiated"),
        ("call.ringing",            "ringing"),
        ("call.answered",           "answered"),
        ("call.completed",          "completed"),
        ("call.ended",              "ended"),
        ("call_initiation_failure", "initiation_failed"),
        ("call.busy",               "busy"),
        ("call.no_answer",          "no_answer"),
        ("call.failed",             "failed"),
        ("call.canceled",           "canceled"),
        ("call.unreachable",        "unreachable"),
        ("call.rejected",           "rejected"),
    ];
    for (word, status) in table {
        let event = parse_json(&json!({ "event_type": word, "call_id": "c1" })).unwrap();
        let claimed = event.status.unwrap();
        assert_eq!((event.event_type, claimed.as_str()), (word, status));
        assert_eq!(event.failure_reason.is_some(), claimed.is_failure(), "{word}");
    }
    assert_eq!(table.len(), EventType::ALL.len());
}

#[test]
fn a_body_that_is_no_event_gives_the_reason() {
    #[rustfmt::skip]
    let table = [
        (r"{",                                                               "invalid_json"),
        (r#"["call.busy"]"#,                                                 "invalid_json"),
        (r#"{"event_type":"call.busy"}"#,                                    "no_identifier"),
        (r#"{"event_type":"call.busy","call_id":null,"conversation_id":""}"#, "no_identifier"),
        (r#"{"event_type":"call.busy","call_id":7.5}"#,                      "invalid_identifier"),
        (r#"{"event_type":"call.busy","call_id":"a b"}"#,                    "invalid_identifier"),
        (r#"{"event_type":"call.busy","conversation_id":"a.>"}"#,            "invalid_identifier"),
        (r#"{"event_type":"call.vanished","call_id":"c1"}"#,                 "unsupported_event"),
        (r#"{"event_type":7,"call_id":"c1"}"#,                               "no_event_type"),
        (r#"{"event_type":" ","call_id":"c1"}"#,                             "no_event_type"),
        (r#"{"call_id":"c1","status":"busy"}"#,                              "no_event_type"),
    ];
    for (body, label) in table {
        assert_eq!(parse(&envelope(), body.as_bytes()).unwrap_err().reason().label(), label, "{body}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse(&envelope(), deep.as_bytes()).unwrap_err().reason().label(), "no_event_type");
    assert_eq!(parse(&envelope(), b"{\"a\":\"\xff\"}").unwrap_err().reason().label(), "invalid_json");
}

#[test]
fn the_time_of_storage_counts_if_an_event_states_none() {
    let with_time =
        parse_json(&json!({ "event_type": "call.busy", "call_id": "c1", "timestamp": 1_790_000_000 }))
            .unwrap();
    assert_eq!(with_time.at.as_second(), 1_790_000_000);
    let without =
        parse_json(&json!({ "event_type": "call.busy", "call_id": "c1", "timestamp": "soon" })).unwrap();
    assert_eq!(without.at, "2026-09-22T12:00:00.123Z".parse().unwrap());
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _never_panics = parse(&envelope(), &body);
    }

    #[test]
    fn an_accepted_id_is_safe_in_a_path_and_a_subject(id in "\\PC{0,40}") {
        if let Ok(id) = ConversationId::new(id) {
            prop_assert!(id.as_str().bytes().all(|b| !b"/.*> ?#%".contains(&b)));
        }
    }
}

fn envelope_event(kind: &str, data: &Value) -> Event {
    parse_json(&json!({ "type": kind, "event_timestamp": 1_790_000_300, "data": data })).unwrap()
}

#[test]
fn a_transcription_has_ids_parties_and_its_transcript() {
    let event = envelope_event(
        "post_call_transcription",
        &json!({
            "agent_id": "agent_1", "conversation_id": "conv_1", "status": "done",
            "transcript": [{ "role": "agent", "message": "Hello.", "time_in_call_secs": 0 }],
            "metadata": { "start_time_unix_secs": 1_790_000_000, "phone_call": {
                "type": "twilio", "direction": "outbound", "phone_number_id": "phnum_1",
                "agent_number": "+15005550006", "external_number": "+6580000001", "call_sid": "CA1",
            } },
            "analysis": { "call_successful": "success" },
            "conversation_initiation_client_data": { "dynamic_variables": { PLACEMENT_VARIABLE: "p-1" } },
        }),
    );
    assert_eq!(event.status, Some(Status::Completed));
    assert_eq!(event.call_id, Some(CallId::new("CA1").unwrap()));
    assert_eq!(event.conversation_id, Some(ConversationId::new("conv_1").unwrap()));
    assert_eq!(event.placement_id, Some(PlacementId::new("p-1").unwrap()));
    assert_eq!(event.parties.to_number.as_deref(), Some("+6580000001"));
    assert_eq!(event.parties.agent_phone_number_id.as_deref(), Some("phnum_1"));
    assert_eq!((event.at.as_second(), event.began_at.unwrap().as_second()), (1_790_000_300, 1_790_000_000));
    assert_eq!(event.fields[&Field::Transcript][0]["message"], "Hello.");
    assert_eq!(event.fields[&Field::Analysis]["call_successful"], "success");
}

#[test]
fn a_transcription_decides_the_status_by_its_call_result() {
    let phone = |result: &str| json!({ "phone_call": { "call_result": result } });
    #[rustfmt::skip]
    let table = [ // data.status, metadata, status, reason
        ("done",   json!({}),                                        Status::Completed, None),
        ("done",   phone("answered"),                                Status::Completed, None),
        ("done",   phone("voicemail"),                               Status::Completed, None),
        ("done",   phone("busy"),                                    Status::Busy,      Some("Recipient was busy")),
        ("failed", phone("no_answer"),                               Status::NoAnswer,  Some("No answer from recipient")),
        ("failed", phone("failed"),                                  Status::Failed,    Some("Call failed")),
        ("failed", json!({ "error": { "code": 1, "reason": "x" }, "termination_reason": "y" }), Status::Failed, Some("x")),
        ("failed", json!({ "error": null, "termination_reason": "y" }), Status::Failed, Some("y")),
        ("failed", json!({ "termination_reason": "" }),              Status::Failed,    Some("Call failed")),
        ("new",    json!(null),                                      Status::Completed, None),
    ];
    for (word, metadata, status, reason) in table {
        let data =
            json!({ "conversation_id": "conv_1", "status": word, "metadata": metadata, "transcript": [] });
        let event = envelope_event("post_call_transcription", &data);
        assert_eq!(
            (event.status, event.failure_reason.as_deref()),
            (Some(status), reason),
            "{word} {metadata}"
        );
        assert!(!event.fields.contains_key(&Field::Transcript), "an empty transcript is asked for");
    }
}

#[test]
fn a_failed_initiation_keeps_its_reason_and_the_answer_of_the_carrier() {
    let twilio = json!({ "type": "twilio", "body": {
        "CallSid": "CA2", "CallStatus": "no-answer", "To": "+6580000002", "SipResponseCode": "487" } });
    let failed = json!({ "type": "twilio", "body": {
        "CallSid": "CA2", "CallStatus": "failed", "To": "+6580000002", "SipResponseCode": "503" } });
    let strange = json!({ "type": "twilio", "body": {
        "CallSid": "CA2", "CallStatus": "failed", "To": "+6580000002", "SipResponseCode": "599" } });
    let sip = json!({ "type": "sip", "body": {
        "to_number": 6_580_000_003_i64, "sip_status_code": 503, "error_reason": "trunk refused the call", "call_sid": "s-3" } });
    #[rustfmt::skip]
    let table = [ // reason, metadata, failure reason, call id, callee
        ("no-answer", &twilio,  "no-answer",                                 "CA2", "+6580000002"),
        ("unknown",   &twilio,  "unknown: no-answer (SIP 487)",              "CA2", "+6580000002"),
        ("unknown",   &failed,  "unknown: Service Unavailable (SIP 503)",    "CA2", "+6580000002"),
        ("unknown",   &strange, "unknown: failed (SIP 599)",                 "CA2", "+6580000002"),
        ("unknown",   &sip,     "unknown: trunk refused the call (SIP 503)", "s-3", "6580000003"),
        ("new-word",  &sip,     "new-word",                                  "s-3", "6580000003"),
    ];
    for (reason, metadata, expected, call_id, callee) in table {
        let data = json!({ "conversation_id": "conv_2", "failure_reason": reason, "metadata": metadata });
        let event = envelope_event("call_initiation_failure", &data);
        assert_eq!(event.status, Some(Status::InitiationFailed));
        assert_eq!(event.failure_reason.as_deref(), Some(expected));
        assert_eq!(event.call_id, Some(CallId::new(call_id).unwrap()));
        assert_eq!(event.parties.to_number.as_deref(), Some(callee));
        assert_eq!(&event.fields[&Field::InitiationFailure], metadata);
    }
}

#[test]
fn a_recording_is_moved_out_of_the_payload_and_machine_detection_claims_no_status() {
    let event =
        envelope_event("post_call_audio", &json!({ "conversation_id": "conv_1", "full_audio": "SUQz" }));
    assert_eq!((event.status, event.recording), (None, Some(Recording(Bytes::from_static(b"ID3")))));
    assert_eq!(
        event.fields[&Field::Audio],
        json!({ "fileId": "e1", "bytes": 3, "contentType": "audio/mpeg" })
    );
    assert!(!event.fields[&Field::RawResponse].to_string().contains("SUQz"));
    for audio in [json!("not base64!"), json!(7)] {
        let data = json!({ "conversation_id": "conv_1", "full_audio": audio });
        let refused = parse_json(&json!({ "type": "post_call_audio", "data": data }));
        assert_eq!(refused.unwrap_err().reason().label(), "invalid_audio");
    }
    let data = json!({ "call_sid": "CA1", "answered_by": "machine_start" });
    let event = envelope_event("answering_machine_detection", &data);
    assert_eq!((event.status, &event.fields[&Field::AnsweredBy]), (None, &json!("machine_start")));
}

#[test]
fn a_refused_event_has_its_reason_and_the_names_of_its_fields() {
    #[rustfmt::skip]
    let table = [
        (json!({ "type": "voice_removed", "data": { "voice_id": "v" } }),   "not_about_a_call", "voice_removal"),
        (json!({ "type": "speech_to_text_transcription", "data": {} }),     "not_about_a_call", "speech_to_text"),
        (json!({ "type": "agent_qa_done", "data": { "conversation_id": "v" } }),
            "unsupported_event", "fields type, data, data.conversation_id"),
        (json!({ "type": "call.teleported", "data": { "to": "secret" } }),  "unsupported_event", "fields type, data, data.to"),
        (json!({ "type": "post_call_transcription", "data": "secret" }),    "unexpected_shape", "fields type, data"),
        (json!({ "type": "post_call_audio", "audio": "secret" }),           "unexpected_shape", "fields type, audio"),
        (json!({ "type": "post_call_transcription", "data": { "agent_id": "secret" } }),
            "no_identifier", "fields type, data, data.agent_id"),
        (json!({ "type": "post_call_transcription", "data": { "conversation_id": ["secret"] } }),
            "invalid_identifier", "conversation_id must be"),
        (json!({ "event": "call.busy", "call_id": "secret" }),              "no_event_type", "fields event, call_id"),
        (json!({ "data": { "conversation_id": "secret", "status": "in-progress", "transcript": [] } }),
            "no_event_type", "data.transcript"),
        (json!({}),                                                         "no_event_type", "no fields"),
    ];
    for (body, label, detail) in table {
        let error = parse_json(&body).unwrap_err();
        assert_eq!(error.reason().label(), label, "{body}");
        let text = error.to_string();
        assert!(text.contains(detail) && !text.contains("secret"), "{text}");
    }
}

#[test]
fn an_event_is_applied_in_every_unambiguous_shape() {
    let data = json!({ "conversation_id": "v", "status": "done", "transcript": [{ "role": "agent", "message": "x" }],
        "metadata": { "phone_call": { "call_sid": "CA1" } } });
    let with = |fields: &Value, name: &str, value: Value| {
        let mut fields = fields.clone();
        fields[name] = value;
        fields
    };
    let failure = json!({ "conversation_id": "v", "failure_reason": "busy",
        "metadata": { "type": "twilio", "body": { "CallSid": "CA1" } } });
    let audio = json!({ "conversation_id": "v", "full_audio": "SUQz" });
    #[rustfmt::skip]
    let table = [
        (json!({ "type": "post_call_transcription", "data": data }),             "post_call_transcription"),
        (json!({ "type": "Post_Call-Transcription ", "data": data }),            "post_call_transcription"),
        (json!({ "event_type": "post_call_transcription", "data": data }),       "post_call_transcription"),
        (json!({ "type": "post_call_transcription", "data": data.to_string() }), "post_call_transcription"),
        (with(&data, "type", "post_call_transcription".into()),                  "post_call_transcription"),
        (json!({ "data": data }),                                                "post_call_transcription"),
        (json!({ "data": data.to_string() }),                                    "post_call_transcription"),
        (data,                                                                   "post_call_transcription"),
        (json!({ "data": { "conversation_id": "v", "status": "failed" } }),      "post_call_transcription"),
        (json!({ "type": "call_initiation_failure", "data": failure }),          "call_initiation_failure"),
        (with(&failure, "type", "call_initiation_failure".into()),               "call_initiation_failure"),
        (json!({ "data": failure }),                                             "call_initiation_failure"),
        (with(&audio, "type", "post_call_audio".into()),                         "post_call_audio"),
        (json!({ "data": audio }),                                               "post_call_audio"),
        (json!({ "type": "answering_machine_detection", "call_sid": "CA1" }),    "answering_machine_detection"),
        (json!({ "event_type": "call.busy", "data": { "call_id": "CA1" } }),     "call.busy"),
        (json!({ "type": "call_initiation_failure", "call_id": "CA1" }),         "call_initiation_failure"),
    ];
    for (body, event_type) in table {
        let event = parse_json(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(event.event_type, event_type, "{body}");
        let names_the_call = event.call_id == CallId::new("CA1").ok();
        assert!(names_the_call || event.conversation_id == ConversationId::new("v").ok(), "{body}");
        assert!(names_the_call || !body.to_string().contains("CA1"), "{body}");
        assert_eq!(event.recording.is_some(), event_type == "post_call_audio", "{body}");
        assert!(!event.fields[&Field::RawResponse].to_string().contains("SUQz"), "{body}");
    }
}

#[test]
fn words_and_identifiers_are_read_in_every_usual_spelling() {
    #[rustfmt::skip]
    let table = [
        ("Call.Completed",           Status::Completed),
        ("call.completed ",          Status::Completed),
        ("call.no-answer",           Status::NoAnswer),
        ("CALL_NO ANSWER",           Status::NoAnswer),
        ("call.cancelled",           Status::Canceled),
        ("Call-Initiation-Failure",  Status::InitiationFailed),
    ];
    for (word, status) in table {
        let event = parse_json(&json!({ "event_type": word, "call_id": 7, "conversation_id": " " })).unwrap();
        assert_eq!(event.status, Some(status), "{word}");
        assert_eq!((event.call_id, event.conversation_id), (CallId::new("7").ok(), None), "{word}");
    }
    for (word, status) in
        [("COMPLETED", Status::Ended), ("cancelled", Status::Canceled), ("No Answer", Status::NoAnswer)]
    {
        let form = format!("CallSid=CA1&CallStatus={}", word.replace(' ', "+"));
        assert_eq!(twilio(&form).unwrap().status, Some(status), "{word}");
    }
}

#[test]
fn listed_texts_are_cut_and_the_payload_keeps_them_whole() {
    let long = "é".repeat(200_000);
    let flat = json!({ "event_type": "call.failed", "call_id": "c", "failure_reason": long, "to_number": long,
        "agent_id": long, "agent_phone_number_id": long, "status": long });
    let vendor = json!({ "type": "post_call_transcription", "data": { "conversation_id": "v", "status": "failed",
        "agent_id": long, "metadata": { "termination_reason": long, "phone_call": {
            "external_number": long, "phone_number_id": long } } } });
    let failure = json!({ "type": "call_initiation_failure", "data": { "conversation_id": "v",
        "failure_reason": "unknown", "agent_id": long, "metadata": { "body": { "error_reason": long, "to_number": long } } } });
    for body in [flat, vendor, failure] {
        let event = parse_json(&body).unwrap();
        let listed = [&event.failure_reason, &event.parties.agent_id, &event.parties.to_number];
        for text in listed.into_iter().chain([&event.received_status]).flatten() {
            let is_cut = text.ends_with('…') && text.chars().count() <= 1000;
            assert!(is_cut || text == "failed", "{} characters", text.chars().count());
        }
        assert_eq!(event.fields[&Field::RawResponse], body);
    }
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("CallSid", "c"),
            ("CallStatus", "busy"),
            ("ErrorMessage", &long),
            ("To", &long),
            ("AnsweredBy", &long),
        ])
        .finish();
    let event = twilio(&form).unwrap();
    for text in [
        event.failure_reason,
        event.parties.to_number,
        event.fields[&Field::AnsweredBy].as_str().map(str::to_owned),
    ] {
        assert!(text.is_some_and(|text| text.ends_with('…') && text.chars().count() <= 1000));
    }
}

#[test]
fn a_body_that_only_a_tolerant_reader_accepts_is_applied() {
    let deep = format!("{}{}", "[".repeat(140), "]".repeat(140));
    for field in [r#""a":"bye \ud83d""#, r#""a":1e400"#, r#""a\u0000b":1"#, &format!("\"a\":{deep}")] {
        let body = format!("{{\"event_type\":\"call.ended\",\"call_id\":\"c\",{field}}}");
        let event = parse(&envelope(), body.as_bytes()).unwrap();
        assert_eq!(event.status, Some(Status::Ended), "{field}");
        assert!(crate::store::value_to_bson(&event.fields[&Field::RawResponse]).is_some(), "{field}");
        let body = format!("{{\"CallSid\":\"c\",\"CallStatus\":\"completed\",{field}}}");
        assert_eq!(twilio(&body).unwrap().status, Some(Status::Ended), "{field}");
    }
}
