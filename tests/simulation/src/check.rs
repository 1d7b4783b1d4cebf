//! What must be so once everything has settled, whatever went wrong before.

use aftercall_worker::{
    call::{CallPatch, TranscriptState},
    event::{self, Event},
    store::Key,
};

use crate::{source::envelope, world::World};

/// What is not as it must be.
pub fn check(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected: Vec<CallPatch> = Vec::new();
    let mut poison = Vec::new();
    for (n, webhook) in world.broker.webhooks.iter().enumerate() {
        match event::parse(&envelope(&webhook.id, webhook.stored_at), &webhook.body) {
            Ok(event) => add(&mut expected, event),
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
    if found.len() != expected.len() {
        wrong.push(format!("{} documents, expected {}", found.len(), expected.len()));
    }
    for call in &expected {
        let key = Key::of(call);
        match found.iter().find(|document| Key::of(document) == key) {
            Some(document) => wrong.extend(differences(call, document)),
            None => wrong.push(format!("no document for {key:?}")),
        }
    }
    wrong
}

/// Joins `event` with the calls that it names.
fn add(calls: &mut Vec<CallPatch>, event: Event) {
    let mut whole = CallPatch::from(event);
    let names: Vec<_> = Key::all_of(&whole).collect();
    let is_named = |call: &CallPatch| Key::all_of(call).any(|name| names.contains(&name));
    let (same, others): (Vec<_>, Vec<_>) = std::mem::take(calls).into_iter().partition(is_named);
    for part in same {
        whole.take_in(part);
    }
    *calls = others;
    calls.push(whole);
}

fn differences(expected: &CallPatch, found: &CallPatch) -> Vec<String> {
    let mut wrong = Vec::new();
    let fetched = match (expected.transcript, &expected.conversation_id) {
        (Some(TranscriptState::Owed), Some(_)) => {
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
