//! Webhook bodies, their events, and the patches of calls.
//!
//! Input: bodies, separated by the ASCII record separator. Each body is parsed as a body of every origin.

use aftercall_common::contract::subject::WebhookSubject;
use aftercall_ingest::storage::message::webhook_id;
use aftercall_worker::{
    domain::{
        call::{CallPatch, Field, Status, TranscriptState},
        event::{Envelope, Event, Origin, ParseError, parse},
    },
    store::{Key, value_to_bson},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

const SEPARATOR: u8 = 0x1E;
/// Limit of bodies in one input. It is above the limit of the history of a call.
const MAX_BODIES: usize = 120;
/// Time of storage of the first body, in nanoseconds: 2026-09-22, not on a full millisecond.
const STORED_AT: i128 = 1_790_078_400_123_456_789;
/// Longest word of a payload, in characters, that the history or an error contains.
const MAX_WORD: usize = 64;
/// Longest failure reason, in characters.
const MAX_REASON: usize = 1000;
/// Longest number, name or id of a party, in characters.
const MAX_PARTY: usize = 256;
/// Longest time from an event to its storage, and a millisecond for rounding.
const AGE: SignedDuration = SignedDuration::from_millis(30 * 86_400_000 + 1);
/// Longest time by which an event may be after its storage, and a millisecond for rounding.
const AHEAD: SignedDuration = SignedDuration::from_millis(300_001);

/// Checks events and patches, and that the order of the patches does not matter.
pub fn run(data: &[u8]) {
    let mut patches = Vec::new();
    for (n, body) in data.split(|&byte| byte == SEPARATOR).take(MAX_BODIES).enumerate() {
        for origin in WebhookSubject::all().map(Origin::from) {
            match read(n, origin, body) {
                Ok(event) => {
                    is_sound(&event);
                    let patch = CallPatch::from(event);
                    is_consistent(&patch);
                    patches.push(patch);
                }
                Err(error) => says_little(&error),
            }
        }
    }
    order_does_not_matter(&patches);
}

/// Parses body number `n`. Equal bodies have equal ids, as at the gateway.
fn read(n: usize, origin: Origin, body: &[u8]) -> Result<Event, ParseError> {
    let stored_at = Timestamp::from_nanosecond(STORED_AT).expect("a time of this century");
    let stored_at = stored_at + SignedDuration::from_secs(i64::try_from(n).expect("few bodies"));
    let id = webhook_id(origin.as_str(), &[Bytes::copy_from_slice(body)]).to_string();
    let signature = Some("verified".to_owned());
    let envelope = Envelope { signature, ..Envelope::new(id, stored_at, origin) };
    let read = parse(&envelope, body);
    assert_eq!(read, parse(&envelope, body), "the second result differs");
    read
}

/// Checks the values of an event.
fn is_sound(event: &Event) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    assert!(event.call_id.is_some() || event.conversation_id.is_some(), "an event without a call");
    if let Some(id) = &event.call_id {
        let id = id.as_str();
        assert!((1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    if let Some(id) = &event.conversation_id {
        let id = id.as_str();
        assert!((1..=128).contains(&id.len()) && id.bytes().all(is_word), "{id:?}");
    }
    if let Some(id) = &event.placement_id {
        let id = id.as_str();
        assert!((1..=64).contains(&id.len()) && id.bytes().all(is_word), "{id:?}");
    }
    let fails = event.status.is_some_and(Status::is_failure);
    assert_eq!(event.failure_reason.is_some(), fails, "only failures have a reason");
    assert!(event.failure_reason.as_ref().is_none_or(|reason| !reason.trim().is_empty()), "an empty reason");
    let word = event.received_status.as_deref().unwrap_or_default();
    assert!(word.chars().count() <= MAX_WORD, "{word:?}");
    for time in [Some(event.at), Some(event.stored_at), event.began_at].into_iter().flatten() {
        assert_eq!(time.as_nanosecond() % 1_000_000, 0, "{time} is not on a millisecond");
    }
    assert!(event.fields.keys().any(|field| field.is_payload()), "the payload is not kept");
    let reason = event.failure_reason.as_deref().unwrap_or_default();
    assert!(reason.chars().count() <= MAX_REASON, "a reason that is too long");
    let parties = [&event.parties.agent_id, &event.parties.agent_phone_number_id, &event.parties.to_number];
    for party in parties.into_iter().flatten() {
        assert!(party.chars().count() <= MAX_PARTY, "a party that is too long");
    }
    let (earliest, latest) = (event.stored_at - AGE, event.stored_at + AHEAD);
    for time in [Some(event.at), event.began_at].into_iter().flatten() {
        let is_near = (earliest..=latest).contains(&time) || event.origin == Origin::Reconciliation;
        assert!(is_near, "{time} is far from {}", event.stored_at);
    }
    for (field, value) in &event.fields {
        assert!(value_to_bson(value).is_some(), "MongoDB cannot store it");
        assert!(*field != Field::Transcript || value.as_array().is_some_and(|turns| !turns.is_empty()));
    }
    if event.recording.is_some() {
        let payload = &event.fields[&Field::RawResponse];
        for place in [payload, &payload["data"]] {
            assert!(place.get("full_audio").is_none_or(|audio| audio.is_null() || place == payload));
        }
        assert!(event.fields.contains_key(&Field::Audio), "a recording without a reference");
    }
}

/// Checks that the parts of a patch agree.
fn is_consistent(patch: &CallPatch) {
    assert!(Key::of(patch).is_some(), "a call without a key");
    assert!(patch.created_at <= patch.updated_at, "updated before it was created");
    let saved = patch.fields.contains_key(&Field::Transcript);
    assert_eq!(patch.transcript == Some(TranscriptState::Saved), saved);
    let is_owed = patch.transcript == Some(TranscriptState::Pending);
    assert!(!is_owed || patch.pending_since.is_some(), "a due transcript without a time");
    assert_eq!(patch.history.len(), 1);
    assert_eq!(&patch.clone().join(patch.clone()), patch, "joined with itself");
}

/// Checks that an error is short, and repeats at most one word of the body.
fn says_little(error: &ParseError) {
    let text = error.to_string();
    match error {
        ParseError::UnsupportedEvent(word, _) | ParseError::UnexpectedShape(word, _) => {
            assert!(word.chars().count() <= MAX_WORD, "{word:?}");
        }
        _ => assert!(text.is_ascii(), "{error}"),
    }
    assert!(text.len() < 2000, "{error}");
}

/// Checks that joins in other orders and batches give the same result.
fn order_does_not_matter(patches: &[CallPatch]) {
    let all = |patches: &[CallPatch]| patches.iter().cloned().reduce(CallPatch::join);
    let Some(joined) = all(patches) else { return };
    let backwards: Vec<_> = patches.iter().rev().cloned().collect();
    assert_eq!(all(&backwards).as_ref(), Some(&joined), "backwards");
    let (first, second) = patches.split_at(patches.len() / 2);
    let batched = [all(second), all(first)].into_iter().flatten().reduce(CallPatch::join);
    assert_eq!(batched.as_ref(), Some(&joined), "in two batches");
    for patch in patches {
        assert_eq!(joined.clone().join(patch.clone()), joined, "once more");
    }
}
