//! What was delivered and is not written yet: one patch a call. Pure.
//!
//! Nothing waits for a batch to fill: whatever is there when a write can begin is the batch. What arrives
//! for a call while it waits is joined into its patch, so a backlog of many events is few statements. A call
//! is in one write at a time: commands that touch the same document get into each other's way.

use std::collections::HashSet;

use indexmap::{IndexMap, map::Entry};
use jiff::Timestamp;

use crate::{
    call::{Attachment, CallPatch, Status, failure_class},
    dead_letters::Cause,
    event::{ConversationId, Event},
    store::Key,
};

/// Most calls of one write.
const MAX_CALLS: usize = 500;
/// Most bytes of payload of one write; a single larger one still goes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// From then on nothing more is pulled: what waits, and its bytes.
const ENOUGH: (usize, usize) = (4 * MAX_CALLS, 4 * MAX_BYTES);

/// What is kept of an event for log and metrics.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    pub event_type: &'static str,
    pub status: Option<Status>,
    /// Class of the reason, for a failure.
    pub failure: Option<&'static str>,
    pub call_id: Option<String>,
    pub conversation_id: Option<String>,
    pub stored_at: Timestamp,
}

impl Line {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            event_type: event.event_type,
            status: event.status,
            failure: event.failure_reason.as_deref().map(failure_class),
            call_id: event.call_id.as_ref().map(|id| id.as_str().to_owned()),
            conversation_id: event.conversation_id.as_ref().map(|id| id.as_str().to_owned()),
            stored_at: event.stored_at,
        }
    }
}

/// A patch, and the messages whose events it joins.
#[derive(Debug)]
pub struct Call<M> {
    pub patch: CallPatch,
    pub messages: Vec<(M, Line)>,
    /// Files that it points to, by the ids of their events.
    pub files: Vec<(String, Attachment)>,
    bytes: usize,
}

/// What is written together.
#[derive(Debug)]
pub struct Batch<M> {
    /// Different calls, as far as their ids tell.
    pub calls: Vec<Call<M>>,
    /// Messages that can never work.
    pub dead: Vec<(M, Cause)>,
    busy: Vec<Key>,
}

/// The names that a batch makes busy, to be given back to [`Desk::done`].
#[derive(Debug)]
#[must_use]
pub struct Busy(Vec<Key>);

impl<M> Batch<M> {
    /// What [`Desk::done`] wants to have.
    pub fn busy(&mut self) -> Busy {
        Busy(std::mem::take(&mut self.busy))
    }

    /// All its messages.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        let calls = self.calls.iter().flat_map(|call| call.messages.iter().map(|(message, _)| message));
        calls.chain(self.dead.iter().map(|(message, _)| message))
    }
}

/// Calls that wait, and the names of those that are being written.
#[derive(Debug)]
pub struct Desk<M> {
    waiting: IndexMap<(Key, Option<ConversationId>), Call<M>>,
    dead: Vec<(M, Cause)>,
    busy: HashSet<Key>,
    messages: usize,
    bytes: usize,
}

impl<M> Default for Desk<M> {
    fn default() -> Self {
        Self { waiting: IndexMap::new(), dead: Vec::new(), busy: HashSet::new(), messages: 0, bytes: 0 }
    }
}

impl<M> Desk<M> {
    /// Whether more may be pulled.
    pub fn has_room(&self) -> bool {
        self.messages < ENOUGH.0 && self.bytes < ENOUGH.1
    }

    /// Takes in a message whose body has so many `bytes`, and what was read in it.
    ///
    /// Events that name the same call are joined, or the same conversation and no call. Which call a
    /// conversation belongs to is for the store to decide.
    pub fn take_in(&mut self, message: M, read: Result<Event, Cause>, bytes: usize) {
        self.messages += 1;
        let event = match read {
            Ok(event) => event,
            Err(cause) => return self.dead.push((message, cause)),
        };
        self.bytes += bytes;
        let line = Line::of(&event);
        let (patch, file) = CallPatch::split(event);
        let file = file.map(|file| (line.id.clone(), file));
        let Some(key) = Key::of(&patch) else {
            let detail = "the event names no call".to_owned();
            return self.dead.push((message, Cause { label: "no_identifier", detail }));
        };
        // Of several conversations of a call each has a patch.
        let is_other = |call: &Call<M>| !call.patch.is_joinable(&patch);
        let mut key = (key, None);
        if self.waiting.get(&key).is_some_and(is_other) {
            key.1 = patch.conversation_id.clone();
        }
        let call = match self.waiting.entry(key) {
            Entry::Occupied(waiting) => {
                let call = waiting.into_mut();
                call.patch.take_in(patch);
                call
            }
            Entry::Vacant(place) => {
                place.insert(Call { patch, messages: Vec::new(), files: Vec::new(), bytes: 0 })
            }
        };
        call.messages.push((message, line));
        call.files.extend(file);
        call.bytes += bytes;
    }

    /// The next batch, of calls that nobody is writing. None where there is none.
    pub fn next(&mut self) -> Option<Batch<M>> {
        let dead = std::mem::take(&mut self.dead);
        let mut batch = Batch { calls: Vec::new(), dead, busy: Vec::new() };
        let (mut bytes, mut full) = (0, false);
        for (key, call) in std::mem::take(&mut self.waiting) {
            full |=
                batch.calls.len() >= MAX_CALLS || (bytes + call.bytes > MAX_BYTES && !batch.calls.is_empty());
            let is_free = !full && Key::all_of(&call.patch).all(|name| !self.busy.contains(&name));
            if is_free {
                bytes += call.bytes;
                batch.busy.extend(Key::all_of(&call.patch));
                batch.calls.push(call);
            } else {
                self.waiting.insert(key, call);
            }
        }
        self.busy.extend(batch.busy.iter().cloned());
        self.messages -= batch.messages().count();
        self.bytes -= bytes;
        (!batch.calls.is_empty() || !batch.dead.is_empty()).then_some(batch)
    }

    /// A batch is no longer being written.
    pub fn done(&mut self, busy: Busy) {
        for name in busy.0 {
            self.busy.remove(&name);
        }
    }

    /// The messages that wait.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        let calls = self.waiting.values().flat_map(|call| call.messages.iter().map(|(message, _)| message));
        calls.chain(self.dead.iter().map(|(message, _)| message))
    }

    /// Lets go of the messages that wait.
    pub fn clear(self) -> impl Iterator<Item = M> {
        let calls = self.waiting.into_values().flat_map(|call| call.messages);
        calls.map(|(message, _)| message).chain(self.dead.into_iter().map(|(message, _)| message))
    }
}

#[cfg(test)]
mod tests;
