//! The check of the result, after all messages are acknowledged.

use aftercall_common::contract::streams::consumer::STATUS;
use aftercall_worker::{
    domain::{
        call::{CallPatch, TranscriptState},
        conversation::event_id,
        event,
    },
    store::Key,
};

use crate::{
    consumer::envelope, documents::Documents, ports::dead_letter_key, provider::conversation, world::World,
};

/// Compares documents and dead letters with the result of applying all stored webhooks once. Returns the
/// differences.
pub fn violations(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected = Documents::default();
    let mut poison = Vec::new();
    for (n, webhook) in world.broker.webhooks.iter().enumerate() {
        match event::parse(&envelope(&webhook.id, webhook.stored_at), &webhook.body) {
            Ok(event) => drop(expected.merge(&CallPatch::from(event))),
            Err(error) => poison.push((dead_letter_key(STATUS, n), error.reason().label())),
        }
    }
    let found: Vec<_> = world.documents.calls.iter().map(|document| &document.call).collect();
    for call in &found {
        add_fetched(world, call, &mut expected);
    }
    for (key, label) in &poison {
        if world.broker.dead.get(key) != Some(label) {
            wrong.push(format!("{key} is not a dead letter with the reason {label}"));
        }
    }
    if world.broker.dead.len() > poison.len() {
        wrong.push(format!("{} dead letters, expected {}", world.broker.dead.len(), poison.len()));
    }
    if found.len() != expected.calls.len() {
        wrong.push(format!("{} documents, expected {}", found.len(), expected.calls.len()));
    }
    for call in expected.calls.iter().map(|document| &document.call) {
        let key = Key::of_document(call);
        match found.iter().find(|document| Key::of_document(document) == key) {
            Some(document) => wrong.extend(differences(call, document)),
            None => wrong.push(format!("no document for {key:?}")),
        }
    }
    wrong
}

/// Adds what the fetch of a transcript stored about the call of `document`.
fn add_fetched(world: &World, document: &CallPatch, expected: &mut Documents) {
    let Some(id) = &document.conversation_id else { return };
    let Some((_, status)) = world.conversations.get(id.as_str()) else { return };
    let fetched = document.history.iter().find(|entry| entry.event_id == event_id(id, true));
    let fetched = fetched.and_then(|entry| conversation(*status).event(id, entry.stored_at?));
    if let Some(event) = fetched {
        expected.merge(&CallPatch::from(event).without_transcript());
    }
}

/// Returns the differences between two documents. A transcript that is due may have been resolved in any way.
fn differences(expected: &CallPatch, found: &CallPatch) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_resolved = match (expected.transcript, &expected.conversation_id) {
        (Some(TranscriptState::Pending), Some(_)) => {
            [Some(TranscriptState::Saved), Some(TranscriptState::Unavailable)].contains(&found.transcript)
        }
        (expected, _) => expected == found.transcript,
    };
    if !is_resolved {
        wrong.push(format!("transcript {:?}, expected {:?}", found.transcript, expected.transcript));
    }
    let without_transcript = |call: &CallPatch| CallPatch { transcript: None, ..call.clone() };
    if without_transcript(expected) != without_transcript(found) {
        wrong.push(format!("found {found:?}, expected {expected:?}"));
    }
    wrong.into_iter().map(|what| format!("{:?}: {what}", Key::of(expected))).collect()
}
