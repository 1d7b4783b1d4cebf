//! What must be so once everything has settled, whatever went wrong before.

use aftercall_worker::{
    domain::{
        call::{CallPatch, TranscriptState},
        event,
    },
    store::Key,
};

use crate::{calls::Calls, source::envelope, world::World};

/// What is not as it must be.
pub fn check(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected = Calls::default();
    let mut poison = Vec::new();
    for (n, webhook) in world.broker.webhooks.iter().enumerate() {
        match event::parse(&envelope(&webhook.id, webhook.stored_at), &webhook.body) {
            Ok(event) => drop(expected.merge(&CallPatch::from(event))),
            Err(error) => poison.push((format!("status:{n}"), error.label())),
        }
    }
    for (grave, label) in &poison {
        if world.broker.dead.get(grave) != Some(label) {
            wrong.push(format!("{grave} is no dead letter with the reason {label}"));
        }
    }
    if world.broker.dead.len() > poison.len() {
        wrong.push(format!("{} dead letters of {}", world.broker.dead.len(), poison.len()));
    }
    let found = &world.calls.documents;
    if found.len() != expected.documents.len() {
        wrong.push(format!("{} documents, expected {}", found.len(), expected.documents.len()));
    }
    for call in &expected.documents {
        let key = Key::of_document(call);
        match found.iter().find(|document| Key::of_document(document) == key) {
            Some(document) => wrong.extend(differences(call, document)),
            None => wrong.push(format!("no document for {key:?}")),
        }
    }
    wrong
}

fn differences(expected: &CallPatch, found: &CallPatch) -> Vec<String> {
    let mut wrong = Vec::new();
    let fetched = match (expected.transcript, &expected.conversation_id) {
        (Some(TranscriptState::Pending), Some(_)) => {
            [Some(TranscriptState::Saved), Some(TranscriptState::Unavailable)].contains(&found.transcript)
        }
        (expected, _) => expected == found.transcript,
    };
    if !fetched {
        wrong.push(format!("transcript {:?}, expected {:?}", found.transcript, expected.transcript));
    }
    let essence = |call: &CallPatch| CallPatch { transcript: None, ..call.clone() };
    if essence(expected) != essence(found) {
        wrong.push(format!("found {found:?}, expected {expected:?}"));
    }
    wrong.into_iter().map(|what| format!("{:?}: {what}", Key::of(expected))).collect()
}
