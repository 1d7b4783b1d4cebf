//! What one or several events claim of a call.

use std::collections::BTreeMap;

use jiff::Timestamp;

#[cfg(doc)]
use super::history::HISTORY_LIMIT;
use super::{
    claims::{FieldClaim, StatusClaim},
    field::Field,
    history::HistoryEntry,
    placement::Placement,
    transcript_state::TranscriptState,
};
#[cfg(doc)]
use crate::domain::event::Event;
use crate::domain::event::{CallId, ConversationId, Parties};

/// What one or several events claim of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPatch {
    /// Telephony id.
    pub call_id: Option<CallId>,
    /// Conversation id.
    pub conversation_id: Option<ConversationId>,
    /// The call of which this one is a leg.
    pub parent_call_id: Option<CallId>,
    /// The placement, if the call was placed through the API.
    pub placement: Option<Placement>,
    /// Agent, its number and callee.
    pub parties: Parties,
    /// The status that prevails.
    pub status: Option<StatusClaim>,
    /// For each field, the value of the latest event that has it.
    pub fields: BTreeMap<Field, FieldClaim>,
    /// The events in the order of time, each once, at most [`HISTORY_LIMIT`] of each kind.
    pub history: Vec<HistoryEntry>,
    /// The state of the transcript. An event that ends a conversation claims [`TranscriptState::Pending`], an
    /// event with the transcript claims [`TranscriptState::Saved`].
    pub transcript: Option<TranscriptState>,
    /// Since when the transcript is pending.
    pub pending_since: Option<Timestamp>,
    /// When the call ended, if it may be without a conversation (see [`Event::is_leg`]). From then on a
    /// transcript is pending, as soon as a conversation of the call is known.
    pub leg_ended: Option<Timestamp>,
    /// The earliest time known of the call.
    pub created_at: Timestamp,
    /// When the first event was stored. The retention time counts from here.
    pub first_stored: Timestamp,
    /// When the latest event was stored.
    pub updated_at: Timestamp,
    /// The part that comes from events which name the call alone: see [`super::conversations`]. `None` if
    /// there is no such part, and if the whole patch is of the call (then [`CallPatch::is_linked`] is false).
    pub of_call: Option<Box<CallPatch>>,
}

impl CallPatch {
    /// A patch that claims nothing. Its times are the bounds of the calendar, so that every other time
    /// prevails.
    pub fn empty() -> Self {
        Self {
            call_id: None,
            conversation_id: None,
            parent_call_id: None,
            placement: None,
            parties: Parties::default(),
            status: None,
            fields: BTreeMap::new(),
            history: Vec::new(),
            transcript: None,
            pending_since: None,
            leg_ended: None,
            created_at: Timestamp::MAX,
            first_stored: Timestamp::MAX,
            updated_at: Timestamp::MIN,
            of_call: None,
        }
    }

    /// Whether the patch names a conversation or a placement. Otherwise all of it is of the call.
    pub fn is_linked(&self) -> bool {
        self.conversation_id.is_some() || self.placement.is_some()
    }

    /// The part that comes from events which name the call alone.
    pub fn part_of_call(&self) -> Option<Self> {
        if self.is_linked() { self.of_call.as_deref().cloned() } else { Some(self.clone()) }
    }

    /// Removes the identifier that counts least: the placement, else the conversation id beside a call id.
    /// The event then belongs to the call that it names first.
    pub fn forget_weakest_link(&mut self) {
        if self.placement.take().is_none() && self.call_id.is_some() {
            self.conversation_id = None;
        }
        if !self.is_linked() {
            self.of_call = None;
            for entry in &mut self.history {
                entry.of_call = true;
            }
        }
    }

    /// Marks the transcript as pending if a leg ended and a conversation is known. The result does not depend
    /// on the order of the two, because it follows from the fields alone.
    pub(super) fn mark_pending_after_leg(&mut self) {
        if let Some(since) = self.leg_ended
            && self.conversation_id.is_some()
        {
            self.transcript = self.transcript.max(Some(TranscriptState::Pending));
            self.pending_since = Some(self.pending_since.map_or(since, |own| own.min(since)));
        }
    }
}
