//! Webhook bodies → events → what they claim about a call.
//!
//! Input: bodies, separated by the ASCII record separator. Each is read in the form of every origin.

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
/// More than the history of a call keeps.
const MOST_BODIES: usize = 120;
/// When the broker stored the first body, in nanoseconds: 2026-09-22, not on a millisecond.
const STORED_AT: i128 = 1_790_078_400_123_456_789;
/// Longest word that is kept of a payload for the history, and that an error may repeat.
const MAX_WORD: usize = 64;
/// Longest reason and longest number, name or id of a party.
const MAX_REASON: usize = 1000;
const MAX_PARTY: usize = 256;
/// How far an event's own time may be from its storage, and a millisecond for what is cut off.
const AGE: SignedDuration = SignedDuration::from_millis(30 * 86_400_000 + 1);
const AHEAD: SignedDuration = SignedDuration::from_millis(300_001);

/// What comes out is sound whatever comes in, and no order of the bodies makes a difference.
pub fn run(data: &[u8]) {
    let mut patches = Vec::new();
    for (n, body) in data.split(|&byte| byte == SEPARATOR).take(MOST_BODIES).enumerate() {
        for origin in [Origin::ElevenLabs, Origin::Twilio, Origin::Reconciliation] {
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

/// Reads `body`, which is number `n`. The same bytes have the same id, as of the gateway.
fn read(n: usize, origin: Origin, body: &[u8]) -> Result<Event, ParseError> {
    let stored_at = Timestamp::from_nanosecond(STORED_AT).expect("a time of this century");
    let stored_at = stored_at + SignedDuration::from_secs(i64::try_from(n).expect("few bodies"));
    let id = webhook_id(origin.as_str(), &[Bytes::copy_from_slice(body)]).to_string();
    let signature = Some("verified".to_owned());
    let envelope = Envelope { signature, ..Envelope::new(id, stored_at, origin) };
    let read = parse(&envelope, body);
    assert_eq!(read, parse(&envelope, body), "read again");
    read
}

fn is_sound(event: &Event) {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    assert!(event.call_id.is_some() || event.conversation_id.is_some(), "of no call");
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
    assert_eq!(event.failure_reason.is_some(), fails, "a failure has a reason, and nothing else has");
    assert!(event.failure_reason.as_ref().is_none_or(|reason| !reason.trim().is_empty()), "an empty reason");
    let word = event.received_status.as_deref().unwrap_or_default();
    assert!(word.chars().count() <= MAX_WORD, "{word:?}");
    for time in [Some(event.at), Some(event.stored_at), event.began_at].into_iter().flatten() {
        assert_eq!(time.as_nanosecond() % 1_000_000, 0, "{time} is not on a millisecond");
    }
    assert!(event.fields.keys().any(|field| field.is_payload()), "the payload is not kept");
    let reason = event.failure_reason.as_deref().unwrap_or_default();
    assert!(reason.chars().count() <= MAX_REASON, "a reason without bound");
    let parties = [&event.parties.agent_id, &event.parties.agent_phone_number_id, &event.parties.to_number];
    for party in parties.into_iter().flatten() {
        assert!(party.chars().count() <= MAX_PARTY, "a party without bound");
    }
    let (earliest, latest) = (event.stored_at - AGE, event.stored_at + AHEAD);
    for time in [Some(event.at), event.began_at].into_iter().flatten() {
        let is_near = (earliest..=latest).contains(&time) || event.origin == Origin::Reconciliation;
        assert!(is_near, "{time} is far from {}", event.stored_at);
    }
    for (field, value) in &event.fields {
        assert!(value_to_bson(value).is_some(), "MongoDB cannot hold it");
        assert!(*field != Field::Transcript || value.as_array().is_some_and(|turns| !turns.is_empty()));
    }
    if event.recording.is_some() {
        let payload = &event.fields[&Field::RawResponse];
        for place in [payload, &payload["data"]] {
            assert!(place.get("full_audio").is_none_or(|audio| audio.is_null() || place == payload));
        }
        assert!(event.fields.contains_key(&Field::Audio), "a recording that nothing names");
    }
}

fn is_consistent(patch: &CallPatch) {
    assert!(Key::of(patch).is_some(), "a call without a key");
    assert!(patch.created_at <= patch.updated_at, "learned of before it was");
    let saved = patch.fields.contains_key(&Field::Transcript);
    assert_eq!(patch.transcript == Some(TranscriptState::Saved), saved);
    let is_owed = patch.transcript == Some(TranscriptState::Pending);
    assert!(!is_owed || patch.pending_since.is_some(), "owed since never");
    assert_eq!(patch.history.len(), 1);
    assert_eq!(&patch.clone().join(patch.clone()), patch, "joined with itself");
}

fn says_little(error: &ParseError) {
    let labels = [
        "invalid_json",
        "no_identifier",
        "invalid_identifier",
        "invalid_audio",
        "no_event_type",
        "unexpected_shape",
        "unsupported_event",
        "not_about_a_call",
    ];
    assert!(labels.contains(&error.label()), "{error}");
    let text = error.to_string();
    match error {
        ParseError::UnsupportedEvent(word, _) | ParseError::UnexpectedShape(word, _) => {
            assert!(word.chars().count() <= MAX_WORD, "{word:?}");
        }
        _ => assert!(text.is_ascii(), "{error}"),
    }
    assert!(text.len() < 2000, "{error}");
}

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
