use proptest::prelude::*;
use serde_json::json;

use super::*;

fn envelope() -> Envelope {
    Envelope {
        id: "e1".to_owned(),
        stored_at: "2026-09-22T12:00:00.123456Z".parse().unwrap(),
        origin: Origin::ElevenLabs,
        signature: None,
    }
}

fn parse_json(body: &Value) -> Result<Event, ParseError> {
    parse(&envelope(), body.to_string().as_bytes())
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
fn what_cannot_be_an_event_says_why() {
    #[rustfmt::skip]
    let table = [
        (r"{",                                                               "invalid_json"),
        (r#"["call.busy"]"#,                                                 "invalid_json"),
        (r#"{"event_type":"call.busy"}"#,                                    "no_identifier"),
        (r#"{"event_type":"call.busy","call_id":null,"conversation_id":""}"#, "no_identifier"),
        (r#"{"event_type":"call.busy","call_id":7}"#,                        "invalid_identifier"),
        (r#"{"event_type":"call.busy","call_id":"a b"}"#,                    "invalid_identifier"),
        (r#"{"event_type":"call.busy","conversation_id":"a.>"}"#,            "invalid_identifier"),
        (r#"{"event_type":"call.vanished","call_id":"c1"}"#,                 "unsupported_event"),
        (r#"{"event_type":7,"call_id":"c1"}"#,                               "unsupported_event"),
        (r#"{"call_id":"c1","status":"busy"}"#,                              "unsupported_event"),
    ];
    for (body, label) in table {
        assert_eq!(parse(&envelope(), body.as_bytes()).unwrap_err().label(), label, "{body}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse(&envelope(), deep.as_bytes()).unwrap_err().label(), "invalid_json");
    assert_eq!(parse(&envelope(), b"{\"a\":\"\xff\"}").unwrap_err().label(), "invalid_json");
}

#[test]
fn its_own_time_counts_and_the_stream_time_stands_in() {
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
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _never_panics = parse(&envelope(), &body);
    }

    #[test]
    fn an_id_that_passes_is_safe_in_a_path_and_a_subject(id in "\\PC{0,40}") {
        if let Ok(id) = ConversationId::new(id) {
            prop_assert!(id.as_str().bytes().all(|b| !b"/.*> ?#%".contains(&b)));
        }
    }
}
