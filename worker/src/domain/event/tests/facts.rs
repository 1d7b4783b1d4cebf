//! The facts and the outcome that each kind of event states.

use aftercall_common::contract::provider::Provider;
use serde_json::{Value, json};

use super::*;
use crate::domain::call::{CallPatch, Fact, FactValue, Field, Outcome, Status};

fn read(body: &Value) -> CallPatch {
    let stored_at = "2026-09-22T12:00:00Z".parse().unwrap();
    parse(&Envelope::new("e", stored_at, Origin::Webhook(Provider::ElevenLabs)), body.to_string().as_bytes())
        .unwrap()
        .into()
}

fn text(patch: &CallPatch, fact: Fact) -> Option<&str> {
    match patch.facts.get(&fact)? {
        FactValue::Text(text) => Some(text),
        other => panic!("{other:?}"),
    }
}

fn outcome(patch: &CallPatch) -> Option<Outcome> {
    patch.outcome.as_ref().map(|claim| claim.outcome)
}

/// A conversation that began at 2026-09-22T11:00:00Z.
fn conversation(metadata: &Value) -> Value {
    let mut data = json!({
        "conversation_id": "v", "agent_id": "a", "agent_name": " Reminder ", "status": "done", "transcript": [],
        "metadata": {
            "start_time_unix_secs": 1_790_074_800.9, "accepted_time_unix_secs": 1_790_074_804,
            "call_duration_secs": 61.4, "cost": 410, "termination_reason": "end_call tool was used",
            "batch_call": { "batch_call_id": "b", "batch_call_recipient_id": "r", "campaign": {
                "campaign_id": "c", "campaign_lead_id": "l",
            } },
        },
        "analysis": { "call_successful": "success", "transcript_summary": "Greeting." },
        "conversation_initiation_client_data": { "dynamic_variables": {
            "order": "Z-17", "system__caller_id": "+1", "secret__key": "k", "aftercall_placement_id": "p", "none": null,
        } },
    });
    data["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    json!({ "type": "post_call_transcription", "event_timestamp": 1_790_075_000, "data": data })
}

#[test]
fn every_fact_of_a_conversation_is_read() {
    let phone = json!({ "phone_call": {
        "type": "sip_trunking", "direction": "outbound", "agent_number": "+15005550006",
        "external_number": "+6580000001", "call_sid": "s", "call_result": "voicemail",
    } });
    let patch = read(&conversation(&phone));
    let time = |text: &str| FactValue::Time(text.parse().unwrap());
    let text = |text: &str| FactValue::Text(text.to_owned());
    let wanted = [
        text("outbound"),
        text("sip_trunk"),
        text("+15005550006"),
        text("Reminder"),
        time("2026-09-22T11:00:00Z"),
        time("2026-09-22T11:00:04Z"),
        time("2026-09-22T11:01:01Z"),
        FactValue::Number(61),
        FactValue::Number(410),
        text("end_call tool was used"),
        text("success"),
        text("Greeting."),
        text("b"),
        text("r"),
        text("c"),
        text("l"),
    ];
    // Only a call that failed has a SIP code.
    let facts = Fact::ALL.into_iter().filter(|fact| *fact != Fact::SipCode);
    assert_eq!(patch.facts, facts.zip(wanted).collect());
    assert_eq!(patch.parties.to_number.as_deref(), Some("+6580000001"));
    assert_eq!(outcome(&patch), Some(Outcome::Voicemail));
    assert_eq!(patch.fields[&Field::DynamicVariables].value, json!({ "order": "Z-17" }));
}

#[test]
fn channel_direction_and_numbers_follow_from_the_part_of_the_conversation() {
    let phone = |direction: &str| {
        json!({ "phone_call": {
            "type": "twilio", "direction": direction, "agent_number": "+1", "external_number": "+2",
        } })
    };
    let none = None;
    #[rustfmt::skip]
    let table = [ // metadata, channel, direction, caller, callee
        (phone("outbound"),                                              Some("twilio"),   Some("outbound"), Some("+1"), Some("+2")),
        (phone("inbound"),                                               Some("twilio"),   Some("inbound"),  Some("+2"), Some("+1")),
        (json!({ "whatsapp": { "direction": "inbound" } }),              Some("whatsapp"), Some("inbound"),  none,       none),
        (json!({ "sms": {}, "phone_call": null }),                       Some("sms"),      none,             none,       none),
        (json!({ "sms": { "direction": "outbound", "agent_phone_number": "+1", "sms_user_phone_number": "+2" } }),
                                                                         Some("sms"),      Some("outbound"), Some("+1"), Some("+2")),
        (json!({ "whatsapp": { "direction": "inbound", "whatsapp_user_id": "652" } }),
                                                                         Some("whatsapp"), Some("inbound"),  Some("652"), none),
        (json!({ "whatsapp": { "direction": "unknown" } }),              Some("whatsapp"), none,             none,       none),
        (json!({ "conversation_initiation_source": "twilio_sms" }),      Some("sms"),      none,             none,       none),
        (json!({ "conversation_initiation_source": "react_sdk" }),       Some("web"),      none,             none,       none),
        (json!({ "conversation_initiation_source": "genesys" }),         Some("genesys"),  none,             none,       none),
        (json!({ "conversation_initiation_source": "unknown" }),         none,             none,             none,       none),
    ];
    for (metadata, channel, direction, caller, callee) in table {
        let patch = read(&conversation(&metadata));
        let found =
            (text(&patch, Fact::Channel), text(&patch, Fact::Direction), text(&patch, Fact::FromNumber));
        assert_eq!(found, (channel, direction, caller), "{metadata}");
        assert_eq!(patch.parties.to_number.as_deref(), callee, "{metadata}");
    }
}

#[test]
fn the_claims_of_a_conversation_have_the_time_of_its_end() {
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let (sent, end) = (time("2026-09-22T11:03:20Z"), time("2026-09-22T11:01:01Z"));
    let result = json!({ "phone_call": { "call_result": "voicemail" } });
    let mut without_start = result.clone();
    without_start["start_time_unix_secs"] = json!(0);
    let mut without_times = without_start.clone();
    without_times["accepted_time_unix_secs"] = json!(null);
    let mut in_future = result.clone();
    in_future["call_duration_secs"] = json!(80_000);
    #[rustfmt::skip]
    let table = [ // metadata, time of the claims, begin of the call
        (result,        end,                            time("2026-09-22T11:00:00Z")),
        (without_start, time("2026-09-22T11:01:05Z"),   time("2026-09-22T11:00:04Z")),
        (without_times, sent,                           sent),
        (in_future,     sent,                           time("2026-09-22T11:00:00Z")),
    ];
    for (metadata, expected, created_at) in table {
        let patch = read(&conversation(&metadata));
        let claims = [
            patch.status.as_ref().unwrap().at,
            patch.outcome.as_ref().unwrap().at,
            patch.fields[&Field::AnsweredBy].at,
        ];
        assert_eq!((claims, patch.created_at), ([expected; 3], created_at), "{metadata}");
        // The payload and its parts come from the latest webhook.
        assert_eq!((patch.history[0].at, patch.fields[&Field::Metadata].at), (sent, sent));
    }
}

#[test]
fn a_call_ends_after_the_callee_answered() {
    let ended = |duration: i64| {
        let patch = read(&conversation(&json!({
            "accepted_time_unix_secs": 1_790_074_820, "call_duration_secs": duration,
        })));
        match patch.facts[&Fact::EndedAt] {
            FactValue::Time(at) => at.as_second() - 1_790_074_800,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(ended(61), 61);
    assert_eq!(ended(20), 20);
    assert_eq!(ended(18), 38, "a length that ends before the answer counts from it");
}

#[test]
fn the_transcript_of_a_conversation_that_is_over_is_due() {
    use crate::domain::call::TranscriptState::{Pending, Saved};
    let turns = json!([{ "role": "agent", "message": "Hello." }]);
    #[rustfmt::skip]
    let table = [ // status, call result, turns, transcript
        ("done",   "answered",  json!([]), Some(Pending)),
        ("done",   "answered",  turns,     Some(Saved)),
        ("failed", "answered",  json!([]), Some(Pending)),
        ("failed", "busy",      json!([]), None),
        ("done",   "no_answer", json!([]), None),
    ];
    for (status, result, turns, expected) in table {
        let mut body = conversation(&json!({ "phone_call": { "call_result": result } }));
        body["data"]["status"] = status.into();
        body["data"]["transcript"] = turns;
        assert_eq!(read(&body).transcript, expected, "{status} {result}");
    }
}

#[test]
fn a_rejection_prevails_over_busy_whatever_came_later() {
    let failure = |code: u16, at: i64| {
        read(&json!({ "type": "call_initiation_failure", "event_timestamp": at, "data": {
            "conversation_id": "v", "failure_reason": "busy",
            "metadata": { "type": "sip", "body": { "sip_status_code": code } },
        } }))
    };
    let joined = failure(603, 1_790_074_900).join(failure(486, 1_790_074_950));
    assert_eq!(outcome(&joined), Some(Outcome::Rejected));
}

#[test]
fn an_unknown_fact_is_absent() {
    let unknown = json!({
        "start_time_unix_secs": 0, "accepted_time_unix_secs": null, "call_duration_secs": 0, "cost": null,
        "termination_reason": " ", "batch_call": null,
    });
    let patch = read(&conversation(&unknown));
    let known: Vec<_> = patch.facts.keys().copied().collect();
    assert_eq!(known, [Fact::AgentName, Fact::CallSuccessful, Fact::Summary]);
}

#[test]
fn a_call_that_was_not_connected_has_its_outcome_and_its_numbers() {
    let failure = |kind: &str, reason: &str, body: Value| {
        read(&json!({ "type": "call_initiation_failure", "event_timestamp": 1_790_075_000, "data": {
            "conversation_id": "v", "failure_reason": reason, "metadata": { "type": kind, "body": body },
        } }))
    };
    let twilio = json!({ "CallStatus": "busy", "Direction": "outbound-api", "From": "+1", "To": "+2" });
    let sip = |code: u16| json!({ "sip_status_code": code, "from_number": "+1", "to_number": "+2" });
    #[rustfmt::skip]
    let table = [
        (failure("twilio", "unknown",   twilio),   "twilio",    Outcome::Busy,        None),
        (failure("sip",    "busy",      sip(603)), "sip_trunk", Outcome::Rejected,    Some("603")),
        (failure("sip",    "no-answer", sip(480)), "sip_trunk", Outcome::NoAnswer,    Some("480")),
        (failure("sip",    "unknown",   sip(404)), "sip_trunk", Outcome::Unreachable, Some("404")),
        (failure("sip",    "unknown",   sip(503)), "sip_trunk", Outcome::Failed,      Some("503")),
        (failure("sip",    "unknown",   sip(200)), "sip_trunk", Outcome::Failed,      None),
    ];
    for (patch, channel, expected, code) in table {
        assert_eq!(text(&patch, Fact::SipCode), code);
        assert_eq!(outcome(&patch), Some(expected), "{patch:?}");
        assert_eq!(text(&patch, Fact::Channel), Some(channel));
        assert_eq!(
            (text(&patch, Fact::Direction), text(&patch, Fact::FromNumber)),
            (Some("outbound"), Some("+1"))
        );
    }
}

#[test]
fn a_machine_is_an_outcome_once_the_call_is_over() {
    let machine =
        read(&json!({ "type": "answering_machine_detection", "event_timestamp": 1_790_074_000, "data": {
        "conversation_id": "v", "answered_by": "machine_start",
    } }));
    assert_eq!(
        (outcome(&machine), machine.outcome.as_ref().unwrap().is_over),
        (Some(Outcome::Voicemail), false)
    );
    let over = read(&conversation(&json!({})));
    for joined in [machine.clone().join(over.clone()), over.join(machine)] {
        let claim = joined.outcome.unwrap();
        assert_eq!((claim.outcome, claim.is_over), (Outcome::Voicemail, true));
    }
}

#[test]
fn a_whatsapp_call_that_was_not_answered_has_no_conversation() {
    let patch = read(&conversation(&json!({ "whatsapp": { "call_result": "no_answer" } })));
    assert_eq!(patch.status.as_ref().map(|claim| claim.status), Some(Status::NoAnswer));
    assert_eq!(outcome(&patch), Some(Outcome::NoAnswer));
}

#[test]
fn a_trace_of_a_conversation_makes_the_worker_fetch_it() {
    let patch =
        read(&json!({ "type": "post_call_transcription_otel", "event_timestamp": 1_790_075_000, "data": {
        "conversation_id": "v", "agent_id": "a", "otlp_traces": { "resourceSpans": [] },
    } }));
    assert_eq!(patch.status.as_ref().map(|claim| claim.status), Some(Status::Completed));
    assert_eq!(patch.transcript, Some(crate::domain::call::TranscriptState::Pending));
}
