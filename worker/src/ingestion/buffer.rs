//! Events that are parsed and not written yet: one patch for each call. Pure.
//!
//! A batch does not wait until it is full: it holds the calls that wait when a write can begin. Events that
//! arrive for a waiting call are joined into its patch, so a backlog of many events takes few statements. A
//! call is in one write at a time, because commands that update the same document conflict.

use std::collections::HashSet;

use indexmap::{IndexMap, map::Entry};
use jiff::Timestamp;

use super::weight::Weight;
use crate::{
    domain::{
        call::{Attachment, CallPatch, Status, failure_class},
        cause::Cause,
        event::{ConversationId, Event},
        reason::Reason,
    },
    store::Key,
};

/// Most calls in a batch.
const MAX_CALLS: usize = 500;
/// Most bytes of payload in a batch. A single larger call is a batch of its own.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of memory in a batch. A single larger call is a batch of its own.
const MAX_MEMORY: usize = 32 * 1024 * 1024;
/// Number of waiting messages at which parsing pauses.
const MAX_WAITING: usize = 4 * MAX_CALLS;
/// Bytes of memory at which parsing pauses. Counts waiting messages and running writes.
const MAX_HELD_MEMORY: usize = 2 * MAX_MEMORY;

/// The part of an event that logs and metrics need after its patch is joined with others.
#[derive(Clone, Debug)]
pub(super) struct EventSummary {
    pub id: String,
    pub event_type: &'static str,
    pub status: Option<Status>,
    /// Class of the failure reason, if the event claims a failure.
    pub failure: Option<&'static str>,
    pub call_id: Option<String>,
    pub conversation_id: Option<String>,
    pub stored_at: Timestamp,
    /// The conversation, if the event brings a recording or says that ElevenLabs has one.
    pub recorded: Option<ConversationId>,
}

impl EventSummary {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            event_type: event.event_type,
            status: event.status,
            failure: event.failure_reason.as_deref().map(failure_class),
            call_id: event.call_id.as_ref().map(|id| id.as_str().to_owned()),
            conversation_id: event.conversation_id.as_ref().map(|id| id.as_str().to_owned()),
            stored_at: event.stored_at,
            recorded: event.conversation_id.clone().filter(|_| event.has_audio || event.recording.is_some()),
        }
    }
}

/// The patch of a call, and the messages whose events it joins.
#[derive(Debug)]
pub(super) struct PendingCall<M> {
    pub patch: CallPatch,
    pub messages: Vec<(M, EventSummary)>,
    /// Files that the patch points to, each with the id of its event.
    pub files: Vec<(String, Attachment)>,
    load: Load,
}

/// The weight of several messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    bytes: usize,
    /// Estimated bytes of memory of the light messages. Heavy messages are counted instead.
    memory: usize,
    /// Number of heavy messages.
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

/// Calls that are written together.
#[derive(Debug)]
pub(super) struct Batch<M> {
    /// The calls, one for each key. Two of them may turn out to be one call, because only the store knows
    /// which conversation belongs to which call.
    pub calls: Vec<PendingCall<M>>,
    /// Messages that cannot be processed, each with the cause.
    pub dead: Vec<(M, Cause)>,
    reservation: Reservation,
}

/// The keys and the memory that a batch occupies until [`Buffer::release`].
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Reservation {
    keys: Vec<Key>,
    load: Load,
}

impl<M> Batch<M> {
    /// Takes the reservation, to be given to [`Buffer::release`] after the write.
    pub fn take_reservation(&mut self) -> Reservation {
        std::mem::take(&mut self.reservation)
    }

    /// All messages of the batch.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        let calls = self.calls.iter().flat_map(|call| call.messages.iter().map(|(message, _)| message));
        calls.chain(self.dead.iter().map(|(message, _)| message))
    }
}

/// The waiting calls, and the keys of the calls that are being written.
#[derive(Debug)]
pub(super) struct Buffer<M> {
    waiting: IndexMap<(Key, Option<Key>), PendingCall<M>>,
    dead: Vec<(M, Cause)>,
    /// Keys of the calls in unreleased batches.
    busy: HashSet<Key>,
    /// Number of waiting messages.
    messages: usize,
    /// Load of the waiting messages and of the unreleased batches.
    load: Load,
}

impl<M> Default for Buffer<M> {
    fn default() -> Self {
        let (waiting, load) = (IndexMap::new(), Load::default());
        Self { waiting, dead: Vec::new(), busy: HashSet::new(), messages: 0, load }
    }
}

impl<M> Buffer<M> {
    /// Whether another light message may be parsed.
    pub fn has_room(&self) -> bool {
        self.messages < MAX_WAITING && self.load.memory < MAX_HELD_MEMORY
    }

    /// Number of waiting calls.
    pub fn calls(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a heavy message waits or is being written.
    pub fn has_heavy(&self) -> bool {
        self.load.heavy > 0
    }

    /// Whether a heavy message may be parsed: no other one waits or is being written.
    pub fn has_room_for_heavy(&self) -> bool {
        self.messages < MAX_WAITING && !self.has_heavy()
    }

    /// Adds a message of this `weight` with its `event`, or with the cause if it has no event.
    ///
    /// Events are joined if they name the same call, or the same conversation and no call. The store decides
    /// to which call a conversation belongs.
    pub fn push(&mut self, message: M, event: Result<Event, Cause>, weight: Weight) {
        match event {
            Ok(event) => {
                let (summary, (patch, file)) = (EventSummary::of(&event), CallPatch::split(event));
                self.push_patch(message, summary, patch, file, weight);
            }
            Err(cause) => self.push_dead(message, cause),
        }
    }

    /// As [`Self::push`]. An event with a file is not added.
    pub fn push_without_file(&mut self, message: M, event: Event, weight: Weight) {
        let (summary, (patch, file)) = (EventSummary::of(&event), CallPatch::split(event));
        if file.is_none() {
            self.push_patch(message, summary, patch, None, weight);
        }
    }

    fn push_dead(&mut self, message: M, cause: Cause) {
        self.messages += 1;
        self.dead.push((message, cause));
    }

    fn push_patch(
        &mut self,
        message: M,
        summary: EventSummary,
        patch: CallPatch,
        file: Option<Attachment>,
        weight: Weight,
    ) {
        let Some(key) = Key::of(&patch) else {
            let detail = "the event names no call".to_owned();
            return self.push_dead(message, Cause { reason: Reason::NoIdentifier, detail });
        };
        self.messages += 1;
        // Each conversation of a call has a patch of its own.
        let is_other = |call: &PendingCall<M>| !call.patch.is_joinable(&patch);
        let mut key = (key, None);
        if self.waiting.get(&key).is_some_and(is_other) {
            // The second key distinguishes the patch: its conversation, else its placement.
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
            Entry::Vacant(vacant) => {
                let (messages, files, load) = (Vec::new(), Vec::new(), Load::default());
                vacant.insert(PendingCall { patch, messages, files, load })
            }
        };
        call.files.extend(file.map(|file| (summary.id.clone(), file)));
        call.messages.push((message, summary));
        call.load.add(load);
    }

    /// Removes the next batch: waiting calls that no unreleased batch contains. `None` if no such call waits. A
    /// call with a heavy message is a batch of its own, so that other calls do not wait for it.
    pub fn next_batch(&mut self) -> Option<Batch<M>> {
        let dead = std::mem::take(&mut self.dead);
        let mut batch = Batch { calls: Vec::new(), dead, reservation: Reservation::default() };
        let mut full = false;
        for (key, call) in std::mem::take(&mut self.waiting) {
            let (load, own) = (batch.reservation.load, call.load);
            full |= batch.calls.len() >= MAX_CALLS
                || (!batch.calls.is_empty()
                    && (load.heavy + own.heavy > 0
                        || load.bytes + own.bytes > MAX_BYTES
                        || load.memory + own.memory > MAX_MEMORY));
            let is_free = !full && Key::all_of(&call.patch).all(|key| !self.busy.contains(&key));
            if is_free {
                batch.reservation.load.add(call.load);
                batch.reservation.keys.extend(Key::all_of(&call.patch));
                batch.calls.push(call);
            } else {
                self.waiting.insert(key, call);
            }
        }
        self.busy.extend(batch.reservation.keys.iter().cloned());
        self.messages -= batch.messages().count();
        (!batch.calls.is_empty() || !batch.dead.is_empty()).then_some(batch)
    }

    /// Releases the keys and the memory of a batch after its write.
    pub fn release(&mut self, reservation: Reservation) {
        for key in reservation.keys {
            self.busy.remove(&key);
        }
        self.load.remove(reservation.load);
    }

    /// The waiting messages.
    pub fn messages(&self) -> impl Iterator<Item = &M> {
        let calls = self.waiting.values().flat_map(|call| call.messages.iter().map(|(message, _)| message));
        calls.chain(self.dead.iter().map(|(message, _)| message))
    }

    /// The waiting messages, which are no longer held.
    pub fn into_messages(self) -> impl Iterator<Item = M> {
        let calls = self.waiting.into_values().flat_map(|call| call.messages);
        calls.map(|(message, _)| message).chain(self.dead.into_iter().map(|(message, _)| message))
    }
}

#[cfg(test)]
mod tests;
