//! Messages that are pulled and not parsed yet. Pure.

use std::collections::VecDeque;

use super::{suspicion::is_suspect, weight::Weight};
use crate::broker::message::StreamMessage;

/// Number of waiting heavy and suspect messages at which pulling pauses.
const MAX_WAITING: usize = 100;
/// Bytes of all waiting messages at which pulling pauses.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most suspects processed together.
const MAX_SUSPECTS: usize = 100;

/// The waiting messages, by the way in which they are processed.
#[derive(Debug)]
pub(super) struct Inbox<M> {
    light: VecDeque<(M, Weight)>,
    heavy: VecDeque<M>,
    suspects: VecDeque<M>,
    bytes: usize,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { light: VecDeque::new(), heavy: VecDeque::new(), suspects: VecDeque::new(), bytes: 0 }
    }
}

impl<M: StreamMessage> Inbox<M> {
    /// Adds a message. A message whose body is in the object store is treated as heavy, because its weight is
    /// unknown.
    pub(super) fn push(&mut self, message: M) {
        let payload = message.payload();
        self.bytes += payload.len();
        let weight = Weight::of(&payload);
        if is_suspect(message.delivered()) {
            self.suspects.push_back(message);
        } else if weight.is_heavy() || message.object().is_some() {
            self.heavy.push_back(message);
        } else {
            self.light.push_back((message, weight));
        }
    }

    /// Whether more messages may be pulled.
    pub(super) fn has_room(&self) -> bool {
        self.light.is_empty()
            && self.heavy.len() + self.suspects.len() < MAX_WAITING
            && self.bytes < MAX_BYTES
    }

    /// Removes the next light message, which the main loop parses itself.
    pub(super) fn pop_light(&mut self) -> Option<(M, Weight)> {
        let (message, weight) = self.light.pop_front()?;
        self.bytes -= weight.bytes;
        Some((message, weight))
    }

    /// Removes the next heavy message.
    pub(super) fn pop_heavy(&mut self) -> Option<M> {
        let message = self.heavy.pop_front()?;
        self.bytes -= message.payload().len();
        Some(message)
    }

    /// Removes the next suspects, at most [`MAX_SUSPECTS`].
    pub(super) fn take_suspects(&mut self) -> VecDeque<M> {
        let suspects: VecDeque<M> = self.suspects.drain(..self.suspects.len().min(MAX_SUSPECTS)).collect();
        self.bytes -= suspects.iter().map(|message| message.payload().len()).sum::<usize>();
        suspects
    }

    /// Whether suspects wait.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The waiting messages.
    pub(super) fn messages(&self) -> impl Iterator<Item = &M> {
        self.light.iter().map(|(message, _)| message).chain(&self.heavy).chain(&self.suspects)
    }

    /// The waiting messages, which are no longer held.
    pub(super) fn into_messages(self) -> impl Iterator<Item = M> {
        self.light.into_iter().map(|(message, _)| message).chain(self.heavy).chain(self.suspects)
    }
}
