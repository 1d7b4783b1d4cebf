//! The model of the collection of calls: documents with unique ids, which statements join.

use std::collections::BTreeMap;

use aftercall_worker::{
    domain::{
        call::{CallPatch, TranscriptState, conversations},
        event::ConversationId,
    },
    store::Key,
};

/// All documents. Each id occurs in one document only.
#[derive(Debug, Default)]
pub struct Documents {
    pub calls: Vec<CallPatch>,
    /// Unfinished attempts to process a suspect webhook, by its id.
    pub attempts: BTreeMap<String, u32>,
}

impl Documents {
    /// Index of the document with the unique id `key`. Of several documents of a call, the first one has the
    /// id of the call.
    pub fn find(&self, key: &Key) -> Option<usize> {
        let names = |n: &usize| Key::all_of(&self.calls[*n]).any(|name| name == *key);
        (0..self.calls.len()).filter(names).min_by_key(|&n| &self.calls[n].conversation_id)
    }

    /// Inserts a document. Returns false if a unique index refuses it.
    pub fn insert(&mut self, patch: &CallPatch) -> bool {
        let is_new = Key::all_of(patch).all(|key| self.find(&key).is_none());
        if is_new {
            self.calls.push(patch.clone());
        }
        is_new
    }

    /// Updates one document or inserts it. Returns false if the patch concerns more than one document.
    pub fn update(&mut self, patch: &CallPatch) -> bool {
        let Some(own) = Key::of(patch) else { return true };
        let document = self.find(&own);
        let collides =
            Key::all_of(patch).any(|key| self.find(&key).is_some_and(|other| Some(other) != document));
        let is_another = document.is_some_and(|n| !self.calls[n].is_joinable(patch));
        let of_call = patch.call_id.is_some() && patch.part_of_call().is_some();
        let documents = self.calls.iter().filter(|document| document.call_id == patch.call_id);
        if collides || is_another || (of_call && documents.count() > 1) {
            return false;
        }
        match document {
            // An event changes a call once.
            Some(n) if has_events(&self.calls[n], patch) => {}
            Some(n) => self.calls[n].merge(patch.clone()),
            None => self.calls.push(patch.clone()),
        }
        true
    }

    /// Joins `patch` with all documents of its call. Returns the conversations whose transcript is due.
    pub fn merge(&mut self, patch: &CallPatch) -> Vec<ConversationId> {
        let stored = std::mem::take(&mut self.calls);
        let joined = conversations::join(stored.clone(), patch.clone());
        let is_written = |n: &usize| joined.documents.iter().any(|one| one.from.contains(n));
        let others = stored.into_iter().enumerate().filter(|(n, _)| !is_written(n));
        self.calls = others.map(|(_, document)| document).collect();
        let owed =
            joined.documents.iter().filter(|one| one.call.transcript == Some(TranscriptState::Pending));
        let owed = owed.filter_map(|one| one.call.conversation_id.clone()).collect();
        self.calls.extend(joined.documents.into_iter().map(|one| one.call));
        owed
    }

    /// The document with this event.
    pub fn with_event(&self, event: &str) -> Option<&CallPatch> {
        self.calls.iter().find(|document| document.history.iter().any(|entry| entry.event_id == event))
    }

    /// The document of this conversation.
    pub fn of(&mut self, conversation: &ConversationId) -> Option<&mut CallPatch> {
        self.calls.iter_mut().find(|document| document.conversation_id.as_ref() == Some(conversation))
    }
}

/// Whether the document has all events of the patch already, and the patch comes from events with a payload.
fn has_events(document: &CallPatch, patch: &CallPatch) -> bool {
    let is_known = |id: &str| document.history.iter().any(|entry| entry.event_id == id);
    patch.fields.keys().any(|field| field.is_payload())
        && patch.history.iter().all(|entry| is_known(&entry.event_id))
}
