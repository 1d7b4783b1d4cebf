//! Messages that are pulled and not parsed yet. Pure.

use std::collections::VecDeque;

use super::{suspects, weight::Weight};
use crate::broker::message::Stored;

/// From then on nothing more is pulled: heavy and suspect messages that wait, and bytes of all that wait.
const ENOUGH: (usize, usize) = (100, 16 * 1024 * 1024);
/// Most suspects worked on together.
const SUSPECTS: usize = 100;

/// Messages by the way in which they are worked on.
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

impl<M: Stored> Inbox<M> {
    /// Takes a message in. Of a body that is elsewhere the weight is not known: it is taken for heavy.
    pub(super) fn push(&mut self, message: M) {
        let payload = message.payload();
        self.bytes += payload.len();
        let weight = Weight::of(&payload);
        if suspects::is_suspect(message.delivered()) {
            self.suspects.push_back(message);
        } else if weight.is_heavy() || message.object().is_some() {
            self.heavy.push_back(message);
        } else {
            self.light.push_back((message, weight));
        }
    }

    /// Whether more may be pulled.
    pub(super) fn has_room(&self) -> bool {
        self.light.is_empty() && self.heavy.len() + self.suspects.len() < ENOUGH.0 && self.bytes < ENOUGH.1
    }

    /// The next message that is parsed on the spot, with its weight.
    pub(super) fn light(&mut self) -> Option<(M, Weight)> {
        let (message, weight) = self.light.pop_front()?;
        self.bytes -= weight.bytes;
        Some((message, weight))
    }

    /// The next message that is worked on as the only heavy one.
    pub(super) fn heavy(&mut self) -> Option<M> {
        let message = self.heavy.pop_front()?;
        self.bytes -= message.payload().len();
        Some(message)
    }

    /// The next messages that are worked on while nothing else is.
    pub(super) fn suspects(&mut self) -> VecDeque<M> {
        let suspects: VecDeque<M> = self.suspects.drain(..self.suspects.len().min(SUSPECTS)).collect();
        self.bytes -= suspects.iter().map(|message| message.payload().len()).sum::<usize>();
        suspects
    }

    /// Whether there are such.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// All that wait.
    pub(super) fn messages(&self) -> impl Iterator<Item = &M> {
        self.light.iter().map(|(message, _)| message).chain(&self.heavy).chain(&self.suspects)
    }

    /// Lets go of all that wait.
    pub(super) fn clear(self) -> impl Iterator<Item = M> {
        self.light.into_iter().map(|(message, _)| message).chain(self.heavy).chain(self.suspects)
    }
}
