use serde_json::{Value, json};

use super::*;
use crate::domain::{
    event::{Envelope, Origin, Provider, parse},
    reason::Reason,
};

/// A buffer with one message for each body. The messages are the positions of the bodies.
fn buffer(bodies: &[Value]) -> Buffer<usize> {
    let mut buffer = Buffer::default();
    push_all(&mut buffer, 0, bodies);
    buffer
}

fn push_all(buffer: &mut Buffer<usize>, first: usize, bodies: &[Value]) {
    for (n, body) in (first..).zip(bodies) {
        let stored_at = Timestamp::from_second(i64::try_from(n).unwrap()).unwrap();
        let envelope = Envelope::new(n.to_string(), stored_at, Origin::Webhook(Provider::ElevenLabs));
        let body = body.to_string();
        let event = parse(&envelope, body.as_bytes());
        let event = event.map_err(|error| Cause { reason: error.reason(), detail: error.to_string() });
        buffer.push(n, event, Weight::of(body.as_bytes()));
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
fn events_of_one_call_are_joined_and_unreadable_messages_are_kept_apart() {
    let mut buffer = buffer(&[
        json!({ "event_type": "call.ringing", "conversation_id": "v" }),
        json!({ "event_type": "call.vanished", "call_id": "c" }),
        json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" }),
        ringing("other"),
        json!({ "event_type": "call.ended", "call_id": "c" }),
    ]);
    let batch = buffer.next_batch().unwrap();
    assert_eq!(calls(&batch), [vec![0], vec![2, 4], vec![3]]);
    assert_eq!(batch.calls[1].patch.history.len(), 2);
    assert_eq!(
        batch.dead.iter().map(|(n, cause)| (*n, cause.reason)).collect::<Vec<_>>(),
        [(1, Reason::UnsupportedEvent)]
    );
    assert!(buffer.next_batch().is_none() && buffer.messages().next().is_none());
    assert_eq!(batch.messages().copied().collect::<Vec<_>>(), [0, 2, 4, 3, 1]);
}

#[test]
fn each_conversation_of_a_call_has_a_patch_of_its_own() {
    let of = |conversation: &str| json!({ "event_type": "call.ended", "call_id": "c", "conversation_id": conversation });
    let mut buffer = buffer(&[ringing("c"), of("v1"), of("v2"), ringing("c"), of("v2"), of("v1")]);
    let batch = buffer.next_batch().unwrap();
    assert_eq!(calls(&batch), [vec![0, 1, 3, 5], vec![2, 4]]);
    assert_eq!(batch.calls[1].patch.conversation_id.as_ref().unwrap().as_str(), "v2");
}

#[test]
fn a_call_is_in_one_batch_at_a_time_whichever_id_names_it() {
    let mut buffer =
        buffer(&[json!({ "event_type": "call.answered", "call_id": "c", "conversation_id": "v" })]);
    let mut first = buffer.next_batch().unwrap();
    push_all(
        &mut buffer,
        1,
        &[ringing("c"), ringing("d"), json!({ "event_type": "call.ended", "conversation_id": "v" })],
    );
    push_all(&mut buffer, 4, &[ringing("c")]);
    let mut second = buffer.next_batch().unwrap();
    assert_eq!(calls(&second), [[2]]);
    assert!(buffer.next_batch().is_none());
    buffer.release(second.take_reservation());
    assert!(buffer.next_batch().is_none());
    buffer.release(first.take_reservation());
    assert_eq!(calls(&buffer.next_batch().unwrap()), [vec![1, 4], vec![3]]);
}

#[test]
fn batches_and_held_memory_are_bounded() {
    let bodies: Vec<_> = (0..=MAX_CALLS).map(|n| ringing(&n.to_string())).collect();
    let mut buffer = buffer(&bodies);
    let next = |buffer: &mut Buffer<usize>| {
        let mut batch = buffer.next_batch().unwrap();
        let reservation = batch.take_reservation();
        (batch, reservation)
    };
    let (batch, reservation) = next(&mut buffer);
    assert_eq!(batch.calls.len(), MAX_CALLS);
    buffer.release(reservation);
    assert_eq!(buffer.messages().count(), 1);
    let large = "x".repeat(MAX_BYTES / 2 + 1);
    let large = |call: &str| json!({ "event_type": "call.ringing", "call_id": call, "large": large });
    push_all(&mut buffer, 1000, &[large("a"), large("b"), large("c")]);
    for expected in [vec![vec![MAX_CALLS], vec![1000]], vec![vec![1001]]] {
        let (batch, reservation) = next(&mut buffer);
        assert_eq!(calls(&batch), expected);
        buffer.release(reservation);
    }
    let mut n = 2000;
    while buffer.has_room() {
        push_all(&mut buffer, n, &[large("d")]);
        n += 1;
    }
    assert_eq!(n - 2000, 5, "together with the waiting call, the memory of two batches");
    let (_, first) = next(&mut buffer);
    assert!(!buffer.has_room(), "memory is held until the batch is released");
    buffer.release(first);
    assert!(buffer.has_room());
    let (batch, reservation) = next(&mut buffer);
    buffer.release(reservation);
    assert_eq!((batch.calls.len(), buffer.messages, buffer.load), (1, 0, Load::default()));
}

#[test]
fn one_heavy_message_is_held_at_a_time_and_delays_no_light_one() {
    let heavy = |call: &str| {
        let arrays = vec![Value::Array(Vec::new()); 150_000];
        json!({ "event_type": "call.ended", "call_id": call, "arrays": arrays })
    };
    let mut buffer = buffer(&[ringing("a"), heavy("b"), ringing("c"), ringing("d")]);
    assert!(buffer.has_room() && !buffer.has_room_for_heavy());
    let mut light = buffer.next_batch().unwrap();
    assert_eq!(calls(&light), [vec![0]], "in order of arrival");
    let mut alone = buffer.next_batch().unwrap();
    assert_eq!(calls(&alone), [vec![1]]);
    buffer.release(light.take_reservation());
    let mut light = buffer.next_batch().unwrap();
    assert_eq!(calls(&light), [vec![2], vec![3]]);
    buffer.release(light.take_reservation());
    assert!(!buffer.has_room_for_heavy(), "the heavy message is not released yet");
    buffer.release(alone.take_reservation());
    assert!(buffer.has_room_for_heavy());
}

#[test]
fn waiting_messages_can_be_handed_back() {
    let mut buffer = buffer(&[ringing("a"), json!([]), ringing("a"), ringing("b")]);
    let mut handed: Vec<_> = std::mem::take(&mut buffer).into_messages().collect();
    handed.sort_unstable();
    assert_eq!(handed, [0, 1, 2, 3]);
}
