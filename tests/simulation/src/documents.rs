//! The model of the collection of calls: documents with unique ids and revisions.

use std::collections::BTreeMap;

use aftercall_worker::{
    domain::{
        call::{CallPatch, TranscriptState, conversations},
        event::ConversationId,
    },
    store::{Applied, CallUpdate, Key, LaterClaims, ObjectId, StoredCall},
};

/// All documents. Each id occurs in one document only.
#[derive(Debug, Default)]
pub struct Documents {
    pub calls: Vec<Document>,
    /// Unfinished attempts to process a suspect webhook, by its id.
    pub attempts: BTreeMap<String, u32>,
    /// Number of changes. Each has a revision of its own.
    changes: i64,
}

/// A document: a call, and what the database keeps about it.
#[derive(Clone, Debug)]
pub struct Document {
    id: ObjectId,
    revision: i64,
    pub call: CallPatch,
}

impl Documents {
    /// Index of the document with the unique id `key`. Of several documents of a call, the first one has the
    /// id of the call.
    fn find(&self, key: &Key) -> Option<usize> {
        let names = |n: &usize| Key::all_of(&self.calls[*n].call).any(|name| name == *key);
        (0..self.calls.len()).filter(names).min_by_key(|&n| &self.calls[n].call.conversation_id)
    }

    fn next_revision(&mut self) -> i64 {
        self.changes += 1;
        self.changes
    }

    fn add(&mut self, call: CallPatch) {
        let revision = self.next_revision();
        let mut id = [0; 12];
        id[4..].copy_from_slice(&revision.to_be_bytes());
        self.calls.push(Document { id: ObjectId::from_bytes(id), revision, call });
    }

    /// The stored calls with these ids, each once.
    pub fn read(&self, keys: &[Key]) -> Vec<StoredCall> {
        let mut found: Vec<_> = keys.iter().filter_map(|key| self.find(key)).collect();
        found.sort_unstable();
        found.dedup();
        let stored = found.into_iter().map(|n| {
            let Document { id, revision, call } = self.calls[n].clone();
            let is_found_by = |key: &Key| self.find(key) == Some(n);
            let of_call = |other: &&Document| call.call_id.is_some() && other.call.call_id == call.call_id;
            StoredCall {
                id,
                revision: Some(revision),
                keys: Key::all_of(&call).filter(is_found_by).collect(),
                is_shared: self.calls.iter().filter(of_call).count() > 1,
                later: LaterClaims::default(),
                call,
            }
        });
        stored.collect()
    }

    /// Inserts a document. Returns false if a unique index refuses it.
    pub fn insert(&mut self, patch: &CallPatch) -> bool {
        let is_new = Key::all_of(patch).all(|key| self.find(&key).is_none());
        if is_new {
            self.add(patch.clone().in_milliseconds());
        }
        is_new
    }

    /// Updates a document that is still as it was read. `None`: it is not. `Some(false)`: a unique index refuses the
    /// update.
    pub fn update(&mut self, update: &CallUpdate) -> Option<bool> {
        let is_read =
            |own: &Document| own.id == update.stored.id && Some(own.revision) == update.stored.revision;
        let n = self.calls.iter().position(is_read)?;
        let Some(joined) = &update.joined else { return Some(true) };
        let gets = Key::all_of(joined).filter(|key| !Key::all_of(&update.stored.call).any(|own| own == *key));
        if gets.into_iter().any(|key| self.find(&key).is_some_and(|other| other != n)) {
            return Some(false);
        }
        self.calls[n].call = joined.clone();
        self.calls[n].revision = self.next_revision();
        Some(true)
    }

    /// Joins `patch` with all documents of its call.
    pub fn merge(&mut self, patch: &CallPatch) -> Applied {
        let patch = patch.clone().in_milliseconds();
        let stored = std::mem::take(&mut self.calls);
        let calls = stored.iter().map(|document| document.call.clone()).collect();
        let joined = conversations::join(calls, patch.clone());
        let is_written = |n: &usize| joined.documents.iter().any(|one| one.from.contains(n));
        let others = stored.into_iter().enumerate().filter(|(n, _)| !is_written(n));
        self.calls = others.map(|(_, document)| document).collect();
        let applied = Applied::of(joined.documents.iter().map(|one| &one.call), &patch);
        joined.documents.into_iter().for_each(|one| self.add(one.call));
        applied
    }

    /// The call with this event.
    pub fn with_event(&self, event: &str) -> Option<&CallPatch> {
        let mut calls = self.calls.iter().map(|document| &document.call);
        calls.find(|call| call.history.iter().any(|entry| entry.event_id == event))
    }

    /// The call of this conversation.
    pub fn of(&self, conversation: &ConversationId) -> Option<&CallPatch> {
        let mut calls = self.calls.iter().map(|document| &document.call);
        calls.find(|call| call.conversation_id.as_ref() == Some(conversation))
    }

    /// Resolves the transcript of this conversation. Returns whether its call was changed: a saved transcript stays.
    pub fn resolve(&mut self, conversation: &ConversationId, state: TranscriptState) -> bool {
        let revision = self.next_revision();
        let is_open = |document: &&mut Document| {
            document.call.conversation_id.as_ref() == Some(conversation)
                && document.call.transcript != Some(TranscriptState::Saved)
        };
        let Some(document) = self.calls.iter_mut().find(is_open) else { return false };
        document.call.transcript = document.call.transcript.max(Some(state));
        document.revision = revision;
        true
    }
}
