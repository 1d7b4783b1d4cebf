use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::domain::event::{CallId, ConversationId, Envelope, Event, EventType, Origin, Provider, parse};

fn event(n: u32, event_type: EventType, at: Option<i64>, ids: u8) -> Event {
    let mut body = json!({ "event_type": event_type.as_str(), "n": n });
    if ids & 1 == 0 || ids & 2 != 0 {
        body["call_id"] = "call".into();
    }
    if ids & 1 != 0 {
        body["conversation_id"] = "conversation".into();
    }
    if let Some(at) = at {
        body["timestamp"] = at.into();
    }
    let stored_at = Timestamp::from_second(1_790_000_000 + i64::from(n)).unwrap();
    let envelope = Envelope::new(format!("{n:04}"), stored_at, Origin::Webhook(Provider::ElevenLabs));
    parse(&envelope, body.to_string().as_bytes()).unwrap()
}

/// ElevenLabs' own event, with a transcript and the id of a placement.
fn transcription(n: u32) -> Event {
    let body = json!({ "type": "post_call_transcription", "event_timestamp": 1_790_000_000 + n % 5, "data": {
        "conversation_id": "conversation", "status": "done", "transcript": [{ "message": n }],
        "metadata": { "start_time_unix_secs": 1_789_990_000 + n, "phone_call": { "call_sid": "call" } },
        "conversation_initiation_client_data": { "dynamic_variables": { "aftercall_placement_id": "p" } },
    } });
    let stored_at = Timestamp::from_second(1_790_000_000 + i64::from(n)).unwrap();
    let envelope = Envelope::new(format!("{n:04}"), stored_at, Origin::Webhook(Provider::ElevenLabs));
    parse(&envelope, body.to_string().as_bytes()).unwrap()
}

/// A callback of Twilio: the end of an inbound call or of a leg, or a recording.
fn callback(n: u32) -> Event {
    let kind =
        ["CallStatus=completed&Direction=inbound", "CallStatus=completed&ParentCallSid=p", "RecordingSid=r"];
    let form = format!("CallSid=call&n={n}&{}", kind[n as usize % 3]);
    let stored_at = Timestamp::from_second(1_790_000_000 + i64::from(n)).unwrap();
    parse(&Envelope::new(format!("{n:04}"), stored_at, Origin::Webhook(Provider::Twilio)), form.as_bytes())
        .unwrap()
}

prop_compose! {
    /// The event depends only on the number.
    fn any_event()(n in 0..40u32) -> Event {
        let kind = EventType::ALL[n as usize * 7 % 12];
        let own_time = (n % 3 != 0).then(|| 1_790_000_000 + i64::from(n % 7));
        // Some stated times are ignored, because they are far from the time of storage.
        let own_time = if n % 11 == 0 { Some(12) } else { own_time };
        match n % 5 {
            4 => transcription(n),
            3 => callback(n),
            _ => event(n, kind, own_time, (n % 4) as u8),
        }
    }
}

fn join_all(events: &[Event]) -> Option<CallPatch> {
    events.iter().cloned().map(CallPatch::from).reduce(CallPatch::join)
}

#[test]
fn status_only_moves_forward_and_the_later_failure_wins() {
    use Status::*;
    #[rustfmt::skip]
    let table = [ // earlier event, later event, outcome
        (Initiated,  Ringing,   Ringing),
        (Ringing,    Initiated, Ringing),
        (Answered,   Ringing,   Answered),
        (Completed,  Answered,  Completed),
        (Ended,      Completed, Ended),
        (Ended,      Busy,      Busy),
        (Busy,       Ended,     Busy),
        (Busy,       NoAnswer,  NoAnswer),
        (NoAnswer,   Busy,      Busy),
        (Failed,     Failed,    Failed),
        (Failed,     InitiationFailed, InitiationFailed),
        (Busy,       InitiationFailed, Busy),
        (InitiationFailed, Busy, Busy),
        (Busy,       Failed,    Busy),
    ];
    for (first, second, expected) in table {
        let of = |status: Status| EventType::ALL.into_iter().find(|t| t.status() == status).unwrap();
        let events = [event(1, of(first), None, 0), event(2, of(second), None, 0)];
        let joined = join_all(&events).unwrap();
        assert_eq!(joined.status.unwrap().status, expected, "{first} then {second}");
    }
}

#[test]
fn the_reason_is_the_first_text_that_is_not_blank() {
    #[rustfmt::skip]
    let table = [
        (json!({ "failure_reason": "a", "error_message": "b", "message": "c" }), "a"),
        (json!({ "failure_reason": " ", "error_message": "b", "message": "c" }), "b"),
        (json!({ "failure_reason": null, "error_message": 7, "message": "c" }),  "c"),
        (json!({}),                                                              "No answer from recipient"),
    ];
    for (payload, expected) in table {
        let payload: Map<_, _> = payload.as_object().unwrap().clone();
        assert_eq!(failure_reason(&payload, Status::NoAnswer), expected);
    }
}

#[test]
fn every_status_has_a_word_of_its_own() {
    for status in Status::ALL {
        assert_eq!(Status::from_word(status.as_str()), Some(status));
    }
}

#[test]
fn history_is_bounded_and_keeps_the_latest_events() {
    let events: Vec<_> = (0..150).map(|n| event(n, EventType::Ringing, None, 0)).collect();
    let joined = join_all(&events).unwrap();
    assert_eq!(joined.history.len(), HISTORY_LIMIT);
    assert_eq!(joined.history.last().unwrap().event_id, "0149");
}

#[test]
fn an_event_stored_twice_is_in_the_history_once_with_its_first_time() {
    let again = |hours: i64| {
        let mut event = event(1, EventType::Ringing, None, 0);
        event.stored_at += SignedDuration::from_hours(hours);
        event.at += SignedDuration::from_hours(hours);
        event
    };
    let between = event(2, EventType::Answered, None, 0);
    for events in [[again(0), between.clone(), again(3)], [again(3), again(0), between.clone()]] {
        let history = join_all(&events).unwrap().history;
        let ids: Vec<_> = history.iter().map(|entry| entry.event_id.as_str()).collect();
        assert_eq!(ids, ["0001", "0002"]);
        assert_eq!(history[0].at, again(0).at);
    }
}

#[test]
fn ids_of_different_events_are_kept_together() {
    let joined =
        join_all(&[event(1, EventType::Ringing, None, 0), event(2, EventType::Ended, None, 1)]).unwrap();
    assert_eq!(joined.call_id, Some(CallId::new("call").unwrap()));
    assert_eq!(joined.conversation_id, Some(ConversationId::new("conversation").unwrap()));
    assert_eq!(joined.transcript, Some(TranscriptState::Pending));
}

proptest! {
    #[test]
    fn order_repetition_and_batching_do_not_matter(
        events in proptest::collection::vec(any_event(), 1..30),
        order in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let expected = join_all(&events);

        let mut turned = events.clone();
        turned.rotate_left(order.index(events.len()));
        turned.reverse();
        prop_assert_eq!(&join_all(&turned), &expected, "another order");

        let twice: Vec<_> = events.iter().chain(&turned).cloned().collect();
        prop_assert_eq!(&join_all(&twice), &expected, "everything twice");

        let (left, right) = events.split_at(cut.index(events.len()));
        let batched = [join_all(left), join_all(right)].into_iter().flatten().reduce(CallPatch::join);
        prop_assert_eq!(&batched, &expected, "in two batches");
    }
}
