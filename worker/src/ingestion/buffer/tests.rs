use serde_json::{Value, json};

use super::*;
use crate::domain::event::{Envelope, Origin, parse};

/// Takes in one message a body; the messages are their positions.
fn desk(bodies: &[Value]) -> Desk<usize> {
    let mut desk = Desk::default();
    take_in(&mut desk, 0, bodies);
    desk
}

fn take_in(desk: &mut Desk<usize>, first: usize, bodies: &[Value]) {
    for (n, body) in (first..).zip(bodies) {
        let stored_at = Timestamp::from_second(i64::try_from(n).unwrap()).unwrap();
        let envelope = Envelope::new(n.to_string(), stored_at, Origin::ElevenLabs);
        let body = body.to_string();
        let event = parse(&envelope, body.as_bytes());
        let event = event.map_err(|error| Cause { label: error.label(), detail: error.to_string() });
        desk.take_in(n, event, Weight::of(body.as_bytes()));
    }
}

fn ringing(call: &str) -> Value {
    json!({ "event_type": "call.ringing", "call_id": call })
}

/// The messages of each call of a batch.
fn calls(batch: &Batch<usize>) -> Vec<Vec<usize>> {
    batch.calls.iter().map(|call| call.messages.iter().map(|(message, _)| *message).collect()).collect()
}

#[test]
fn events_of_one_call_are_one_patch_and_poison_stays_alone() {
    let mut desk = desk(&[
        json!({ "event_type": "call.ringing", "conversation_id": "v" }),
        json!({ "event_type": "call.vanished", "call_id": "c" }),
        json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" }),
        ringing("other"),
        json!({ "event_type": "call.ended", "call_id": "c" }),
    ]);
    let batch = desk.next().unwrap();
    assert_eq!(calls(&batch), [vec![0], vec![2, 4], vec![3]]);
    assert_eq!(batch.calls[1].patch.history.len(), 2);
    assert_eq!(
        batch.dead.iter().map(|(n, cause)| (*n, cause.label)).collect::<Vec<_>>(),
        [(1, "unsupported_event")]
    );
    assert!(desk.next().is_none() && desk.messages().next().is_none());
    assert_eq!(batch.messages().copied().collect::<Vec<_>>(), [0, 2, 4, 3, 1]);
}

#[test]
fn each_conversation_of_a_call_is_a_patch() {
    let of = |conversation: &str| json!({ "event_type": "call.ended", "call_id": "c", "conversation_id": conversation });
    let mut desk = desk(&[ringing("c"), of("v1"), of("v2"), ringing("c"), of("v2"), of("v1")]);
    let batch = desk.next().unwrap();
    assert_eq!(calls(&batch), [vec![0, 1, 3, 5], vec![2, 4]]);
    assert_eq!(batch.calls[1].patch.conversation_id.as_ref().unwrap().as_str(), "v2");
}

#[test]
fn a_call_is_in_one_write_at_a_time_under_any_of_its_names() {
    let mut desk = desk(&[json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" })]);
    let mut first = desk.next().unwrap();
    take_in(
        &mut desk,
        1,
        &[ringing("c"), ringing("d"), json!({ "event_type": "call.ended", "conversation_id": "v" })],
    );
    take_in(&mut desk, 4, &[ringing("c")]);
    let mut second = desk.next().unwrap();
    assert_eq!(calls(&second), [[2]]);
    assert!(desk.next().is_none());
    desk.done(second.busy());
    assert!(desk.next().is_none());
    desk.done(first.busy());
    assert_eq!(calls(&desk.next().unwrap()), [vec![1, 4], vec![3]]);
}

#[test]
fn batches_are_bounded_and_so_is_what_waits() {
    let bodies: Vec<_> = (0..=MAX_CALLS).map(|n| ringing(&n.to_string())).collect();
    let mut desk = desk(&bodies);
    let next = |desk: &mut Desk<usize>| {
        let mut batch = desk.next().unwrap();
        let busy = batch.busy();
        (batch, busy)
    };
    let (batch, busy) = next(&mut desk);
    assert_eq!(batch.calls.len(), MAX_CALLS);
    desk.done(busy);
    assert_eq!(desk.messages().count(), 1);
    let large = "x".repeat(MAX_BYTES / 2 + 1);
    let large = |call: &str| json!({ "event_type": "call.ringing", "call_id": call, "large": large });
    take_in(&mut desk, 1000, &[large("a"), large("b"), large("c")]);
    for expected in [vec![vec![MAX_CALLS], vec![1000]], vec![vec![1001]]] {
        let (batch, busy) = next(&mut desk);
        assert_eq!(calls(&batch), expected);
        desk.done(busy);
    }
    let mut n = 2000;
    while desk.has_room() {
        take_in(&mut desk, n, &[large("d")]);
        n += 1;
    }
    assert_eq!(n - 2000, 5, "with the one that waits, two writes' worth of memory");
    let (_, first) = next(&mut desk);
    assert!(!desk.has_room(), "what is being written is held too");
    desk.done(first);
    assert!(desk.has_room());
    let (batch, busy) = next(&mut desk);
    desk.done(busy);
    assert_eq!((batch.calls.len(), desk.messages, desk.load), (1, 0, Load::default()));
}

#[test]
fn one_heavy_message_is_worked_on_at_a_time_and_holds_up_no_light_one() {
    let heavy = |call: &str| {
        let arrays = vec![Value::Array(Vec::new()); 150_000];
        json!({ "event_type": "call.ended", "call_id": call, "arrays": arrays })
    };
    let mut desk = desk(&[ringing("a"), heavy("b"), ringing("c"), ringing("d")]);
    assert!(desk.has_room() && !desk.has_room_for_heavy());
    let mut light = desk.next().unwrap();
    assert_eq!(calls(&light), [vec![0]], "in the order of their arrival");
    let mut alone = desk.next().unwrap();
    assert_eq!(calls(&alone), [vec![1]]);
    desk.done(light.busy());
    let mut light = desk.next().unwrap();
    assert_eq!(calls(&light), [vec![2], vec![3]]);
    desk.done(light.busy());
    assert!(!desk.has_room_for_heavy(), "it is still being written");
    desk.done(alone.busy());
    assert!(desk.has_room_for_heavy());
}

#[test]
fn what_waits_can_be_handed_back() {
    let mut desk = desk(&[ringing("a"), json!([]), ringing("a"), ringing("b")]);
    let mut handed: Vec<_> = std::mem::take(&mut desk).clear().collect();
    handed.sort_unstable();
    assert_eq!(handed, [0, 1, 2, 3]);
}
