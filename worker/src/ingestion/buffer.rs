//! What was delivered and is not written yet: one patch a call. Pure.
//!
//! Nothing waits for a batch to fill: whatever is there when a write can begin is the batch. What arrives
//! for a call while it waits is joined into its patch, so a backlog of many events is few statements. A call
//! is in one write at a time: commands that touch the same document get into each other's way.

use std::collections::HashSet;

use indexmap::{IndexMap, map::Entry};
use jiff::Timestamp;

use super::weight::Weight;
use crate::{
    domain::{
        call::{Attachment, CallPatch, Status, failure_class},
        cause::Cause,
        event::Event,
    },
    store::Key,
};

/// Most calls of one write.
const MAX_CALLS: usize = 500;
/// Most bytes of payload of one write, and most memory; a single larger one still goes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
const MAX_MEMORY: usize = 32 * 1024 * 1024;
/// From then on nothing more is parsed: messages that wait, and memory of those that wait or are being written.
const ENOUGH: (usize, usize) = (4 * MAX_CALLS, 2 * MAX_MEMORY);

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
    load: Load,
}

/// What a worker holds in parsed form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    bytes: usize,
    /// Of light messages. Of the heavy ones there is one at a time.
    memory: usize,
    heavy: usize,
}

impl Load {
    fn of(weight: Weight) -> Self {
        if weight.is_heavy() {
            Self { bytes: weight.bytes, memory: 0, heavy: 1 }
        } else {
            Self { bytes: weight.bytes, memory: weight.memory, heavy: 0 }
        }
    }

    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.memory += other.memory;
        self.heavy += other.heavy;
    }

    fn remove(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.memory -= other.memory;
        self.heavy -= other.heavy;
    }
}

/// What is written together.
#[derive(Debug)]
pub struct Batch<M> {
    /// Different calls, as far as their ids tell.
    pub calls: Vec<Call<M>>,
    /// Messages that can never work.
    pub dead: Vec<(M, Cause)>,
    busy: Vec<Key>,
    load: Load,
}

/// The names that a batch makes busy and the memory that it takes, to be given back to [`Desk::done`].
#[derive(Debug)]
#[must_use]
pub struct Busy(Vec<Key>, Load);

impl<M> Batch<M> {
    /// What [`Desk::done`] wants to have.
    pub fn busy(&mut self) -> Busy {
        Busy(std::mem::take(&mut self.busy), self.load)
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
    waiting: IndexMap<(Key, Option<Key>), Call<M>>,
    dead: Vec<(M, Cause)>,
    busy: HashSet<Key>,
    messages: usize,
    /// Of those that wait or are being written.
    load: Load,
}

impl<M> Default for Desk<M> {
    fn default() -> Self {
        let (waiting, load) = (IndexMap::new(), Load::default());
        Self { waiting, dead: Vec::new(), busy: HashSet::new(), messages: 0, load }
    }
}

impl<M> Desk<M> {
    /// Whether another light message may be parsed.
    pub fn has_room(&self) -> bool {
        self.messages < ENOUGH.0 && self.load.memory < ENOUGH.1
    }

    /// Whether a heavy message may be parsed: none waits or is being written.
    pub fn has_room_for_heavy(&self) -> bool {
        self.messages < ENOUGH.0 && self.load.heavy == 0
    }

    /// Takes in a message of this `weight`, and what was read in it.
    ///
    /// Events that name the same call are joined, or the same conversation and no call. Which call a
    /// conversation belongs to is for the store to decide.
    pub fn take_in(&mut self, message: M, read: Result<Event, Cause>, weight: Weight) {
        self.messages += 1;
        let event = match read {
            Ok(event) => event,
            Err(cause) => return self.dead.push((message, cause)),
        };
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
            // What tells it from the others: its conversation, else its placement.
            key.1 = Key::all_of(&patch).nth(1);
        }
        let load = Load::of(weight);
        self.load.add(load);
        let call = match self.waiting.entry(key) {
            Entry::Occupied(waiting) => {
                let call = waiting.into_mut();
                call.patch.merge(patch);
                call
            }
            Entry::Vacant(place) => {
                let (messages, files, load) = (Vec::new(), Vec::new(), Load::default());
                place.insert(Call { patch, messages, files, load })
            }
        };
        call.messages.push((message, line));
        call.files.extend(file);
        call.load.add(load);
    }

    /// The next batch, of calls that nobody is writing. None where there is none. A call with a heavy message is a
    /// batch of its own, lest others wait for it.
    pub fn next(&mut self) -> Option<Batch<M>> {
        let dead = std::mem::take(&mut self.dead);
        let mut batch = Batch { calls: Vec::new(), dead, busy: Vec::new(), load: Load::default() };
        let mut full = false;
        for (key, call) in std::mem::take(&mut self.waiting) {
            let (load, own) = (batch.load, call.load);
            full |= batch.calls.len() >= MAX_CALLS
                || (!batch.calls.is_empty()
                    && (load.heavy + own.heavy > 0
                        || load.bytes + own.bytes > MAX_BYTES
                        || load.memory + own.memory > MAX_MEMORY));
            let is_free = !full && Key::all_of(&call.patch).all(|name| !self.busy.contains(&name));
            if is_free {
                batch.load.add(call.load);
                batch.busy.extend(Key::all_of(&call.patch));
                batch.calls.push(call);
            } else {
                self.waiting.insert(key, call);
            }
        }
        self.busy.extend(batch.busy.iter().cloned());
        self.messages -= batch.messages().count();
        (!batch.calls.is_empty() || !batch.dead.is_empty()).then_some(batch)
    }

    /// A batch is no longer being written.
    pub fn done(&mut self, busy: Busy) {
        let Busy(names, load) = busy;
        for name in names {
            self.busy.remove(&name);
        }
        self.load.remove(load);
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
