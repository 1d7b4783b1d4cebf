//! The model of the collection of calls: documents with unique ids and revisions.

use std::collections::BTreeMap;

use aftercall_worker::{
    domain::{
        call::{CallPatch, NumberSuffixes, TranscriptState, conversations},
        event::{CallId, ConversationId},
    },
    store::{Applied, CallUpdate, Key, ObjectId, StoredCall, UnknownClaims},
};

/// All documents. Each id occurs in one document only.
#[derive(Clone, Debug, Default)]
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
        let rank = |n: &usize| {
            let conversation = &self.calls[*n].call.conversation_id;
            (conversation.is_none(), conversation)
        };
        (0..self.calls.len()).filter(names).min_by_key(rank)
    }

    /// The unique ids of the document at `n`, and the id of its call if the call has other documents.
    fn ids(&self, n: usize) -> (Vec<Key>, Option<CallId>) {
        let call = &self.calls[n].call;
        let is_sibling = |other: &&Document| call.call_id.is_some() && other.call.call_id == call.call_id;
        let shared = call.call_id.clone().filter(|_| self.calls.iter().filter(is_sibling).count() > 1);
        (Key::all_of(call).filter(|key| self.find(key) == Some(n)).collect(), shared)
    }

    fn next_revision(&mut self) -> i64 {
        self.changes += 1;
        self.changes
    }

    /// Adds a document, which has this `_id` already or is new.
    fn add(&mut self, id: Option<ObjectId>, call: CallPatch) {
        let revision = self.next_revision();
        let mut new = [0; 12];
        new[4..].copy_from_slice(&revision.to_be_bytes());
        let id = id.unwrap_or(ObjectId::from_bytes(new));
        self.calls.push(Document { id, revision, call });
    }

    /// The state that a primary has on which `change` was written, and which is rolled back later. A later change never
    /// has one of its revisions.
    pub fn rolled_back(&mut self, change: impl FnOnce(&mut Self)) -> Self {
        let mut other = self.clone();
        change(&mut other);
        self.changes = other.changes;
        other
    }

    /// The stored calls with these ids, each once, without the values of fields.
    pub fn read(&self, keys: &[Key]) -> Vec<StoredCall> {
        let mut found: Vec<_> = keys.iter().filter_map(|key| self.find(key)).collect();
        found.sort_unstable();
        found.dedup();
        let stored = found.into_iter().map(|n| {
            let Document { id, revision, mut call } = self.calls[n].clone();
            let (keys, shared_call_id) = self.ids(n);
            without_values(&mut call);
            let unknown = UnknownClaims::default();
            StoredCall { id, revision: Some(revision), keys, shared_call_id, unknown, call }
        });
        stored.collect()
    }

    /// Inserts a document. Returns false if a unique index refuses it.
    pub fn insert(&mut self, patch: &CallPatch) -> bool {
        let is_new = Key::all_of(patch).all(|key| self.find(&key).is_none());
        if is_new {
            self.add(None, patch.clone().in_milliseconds());
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
        let before = &update.stored.call;
        let new_keys = Key::all_of(joined).filter(|key| !Key::all_of(before).any(|own| own == *key));
        if new_keys.into_iter().any(|key| self.find(&key).is_some_and(|other| other != n)) {
            return Some(false);
        }
        write(&mut self.calls[n].call, joined.clone(), before);
        self.calls[n].revision = self.next_revision();
        Some(true)
    }

    /// Joins `patch` with all documents of its call.
    pub fn merge(&mut self, patch: &CallPatch) -> Applied {
        let patch = patch.clone().in_milliseconds();
        let before = self.clone();
        let joined =
            conversations::join(before.calls.iter().map(|one| one.call.clone()).collect(), patch.clone());
        let applied = Applied::of(joined.documents.iter().map(|one| &one.call), &patch);
        let is_joined = |id: ObjectId| {
            let mut from = joined.documents.iter().flat_map(|one| &one.from);
            from.any(|&n| before.calls[n].id == id)
        };
        self.calls.retain(|document| !is_joined(document.id));
        let others = self.calls.len();
        for one in joined.documents {
            self.add(one.from.first().map(|&n| before.calls[n].id), one.call);
        }
        // A document that stays as it is keeps its revision.
        for n in others..self.calls.len() {
            let is_same = |old: &usize| {
                before.calls[*old].id == self.calls[n].id
                    && before.calls[*old].call == self.calls[n].call
                    && before.ids(*old) == self.ids(n)
            };
            if let Some(old) = (0..before.calls.len()).find(is_same) {
                self.calls[n].revision = before.calls[old].revision;
            }
        }
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

fn without_values(call: &mut CallPatch) {
    call.fields.values_mut().for_each(|claim| claim.value = serde_json::Value::Null);
    call.call_part.iter_mut().for_each(|part| without_values(part));
}

/// Writes to `call` what differs between `joined` and `before`, which has no values of fields.
fn write(call: &mut CallPatch, joined: CallPatch, before: &CallPatch) {
    let becomes_linked = joined.is_linked() && !before.is_linked();
    let mut changed = joined.difference(before);
    if let Some(part_changed) = changed.call_part.take() {
        let stored = if becomes_linked { Some(Box::new(call.clone())) } else { call.call_part.take() };
        let part_before = if becomes_linked { Some(before) } else { before.call_part.as_deref() };
        call.call_part = Some(match (stored, part_before) {
            (Some(mut part), Some(before)) => {
                set(&mut part, part_changed.difference(before));
                part
            }
            (_, _) => part_changed,
        });
    }
    set(call, changed);
    if let Some(part) = &mut call.call_part {
        part.call_id.clone_from(&call.call_id);
        part.history = call.history.iter().filter(|entry| entry.names_call_alone).cloned().collect();
    }
}

/// Replaces the fields of `call` that `changed` has.
fn set(call: &mut CallPatch, changed: CallPatch) {
    fn put<T>(field: &mut Option<T>, value: Option<T>) {
        if value.is_some() {
            *field = value;
        }
    }
    put(&mut call.call_id, changed.call_id);
    put(&mut call.conversation_id, changed.conversation_id);
    put(&mut call.parent_call_id, changed.parent_call_id);
    put(&mut call.placement, changed.placement);
    put(&mut call.parties.agent_id, changed.parties.agent_id);
    put(&mut call.parties.agent_phone_number_id, changed.parties.agent_phone_number_id);
    put(&mut call.parties.to_number, changed.parties.to_number);
    if changed.number_suffixes != NumberSuffixes::default() {
        call.number_suffixes = changed.number_suffixes;
    }
    call.facts.extend(changed.facts);
    put(&mut call.status, changed.status);
    put(&mut call.outcome, changed.outcome);
    call.fields.extend(changed.fields);
    if !changed.history.is_empty() {
        call.history = changed.history;
    }
    put(&mut call.transcript, changed.transcript);
    put(&mut call.pending_since, changed.pending_since);
    put(&mut call.leg_ended, changed.leg_ended);
    call.created_at = changed.created_at;
    call.first_stored = changed.first_stored;
    call.updated_at = changed.updated_at;
}
