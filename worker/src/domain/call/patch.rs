//! The claims of one or several events about a call.

use std::collections::BTreeMap;

use jiff::Timestamp;

#[cfg(doc)]
use super::history::HISTORY_LIMIT;
use super::{
    claims::{FieldClaim, StatusClaim},
    fact::Facts,
    field::Field,
    history::HistoryEntry,
    number_suffixes::NumberSuffixes,
    outcome::OutcomeClaim,
    placement::Placement,
    transcript_state::TranscriptState,
};
#[cfg(doc)]
use crate::domain::event::Event;
use crate::domain::event::{CallId, ConversationId, Parties};

/// The claims of one or several events about one call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPatch {
    /// Telephony id.
    pub call_id: Option<CallId>,
    /// Conversation id.
    pub conversation_id: Option<ConversationId>,
    /// The parent call, if this call is a leg of another call.
    pub parent_call_id: Option<CallId>,
    /// The placement, if the call was placed through the API.
    pub placement: Option<Placement>,
    /// The agent, the agent's telephone number and the callee.
    pub parties: Parties,
    /// The last digits of the numbers, by which lists find the call.
    pub number_suffixes: NumberSuffixes,
    /// The facts that are known.
    pub facts: Facts,
    /// The status that prevails.
    pub status: Option<StatusClaim>,
    /// The outcome that prevails.
    pub outcome: Option<OutcomeClaim>,
    /// For each field, the value of the latest event that has it.
    pub fields: BTreeMap<Field, FieldClaim>,
    /// The events in the order of time, each once, at most [`HISTORY_LIMIT`] of each kind.
    pub history: Vec<HistoryEntry>,
    /// The state of the transcript. An event that ends a conversation claims [`TranscriptState::Pending`], an
    /// event with the transcript claims [`TranscriptState::Saved`].
    pub transcript: Option<TranscriptState>,
    /// Since when the transcript is pending.
    pub pending_since: Option<Timestamp>,
    /// When the event that ended the call was stored, if the call may have no conversation (see
    /// [`Event::is_leg`]). The transcript is pending from this time, but only once a conversation of the call
    /// is known.
    pub leg_ended: Option<Timestamp>,
    /// The earliest known time of the call.
    pub created_at: Timestamp,
    /// When the first event was stored. The retention time begins here.
    pub first_stored: Timestamp,
    /// When the latest event was stored.
    pub updated_at: Timestamp,
    /// Whether the events are replayed. They are then joined even if the document has them already, because an earlier
    /// version may have read less in them.
    pub is_replay: bool,
    /// The part that comes from events which name the call alone: see [`super::conversations`]. `None` if
    /// there is no such event. Also `None` if there is no other event: then the whole patch is this part, and
    /// [`CallPatch::is_linked`] is false.
    pub call_part: Option<Box<CallPatch>>,
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
            number_suffixes: NumberSuffixes::default(),
            facts: Facts::new(),
            status: None,
            outcome: None,
            fields: BTreeMap::new(),
            history: Vec::new(),
            transcript: None,
            pending_since: None,
            leg_ended: None,
            created_at: Timestamp::MAX,
            first_stored: Timestamp::MAX,
            updated_at: Timestamp::MIN,
            is_replay: false,
            call_part: None,
        }
    }

    /// Whether the patch names a conversation or a placement. Otherwise all its events name the call alone.
    pub fn is_linked(&self) -> bool {
        self.conversation_id.is_some() || self.placement.is_some()
    }

    /// The patch with the suffixes of its numbers as well.
    #[must_use]
    pub fn with_number_suffixes(mut self) -> Self {
        self.number_suffixes.merge(NumberSuffixes::of_parties(&self.parties, &self.facts));
        self
    }

    /// The patch without its claims about the transcript.
    #[must_use]
    pub fn without_transcript(mut self) -> Self {
        self.fields.remove(&Field::Transcript);
        Self { transcript: None, pending_since: None, ..self }
    }

    /// The part that comes from events which name the call alone.
    pub fn part_of_call(&self) -> Option<Self> {
        if self.is_linked() { self.call_part.as_deref().cloned() } else { Some(self.clone()) }
    }

    /// Removes the identifier of the lowest priority. The patch then belongs to the call that the remaining ones name.
    ///
    /// What ElevenLabs says about a conversation belongs to that conversation, so the call id goes first: a conversation of a
    /// SIP trunk has two call ids, and ElevenLabs does not say which one its answer to a placed call has. Any other patch
    /// belongs to its call: the placement goes first, then the conversation id.
    pub fn forget_weakest_link(&mut self) {
        if self.conversation_id.is_some() && self.call_id.is_some() && self.is_about_conversation() {
            self.call_id = None;
        } else if self.placement.take().is_none() && self.call_id.is_some() {
            self.conversation_id = None;
        }
        if !self.is_linked() {
            self.call_part = None;
            for entry in &mut self.history {
                entry.names_call_alone = true;
            }
        }
    }

    /// Whether the patch has what ElevenLabs says about a conversation: its values, or its answer to a request of a worker,
    /// which has no payload.
    fn is_about_conversation(&self) -> bool {
        let is_of_conversation = |field: &Field| {
            matches!(field, Field::Transcript | Field::Analysis | Field::Metadata | Field::InitiationFailure)
        };
        self.fields.keys().any(is_of_conversation) || !self.fields.keys().any(|field| field.is_payload())
    }

    /// Marks the transcript as pending if a leg ended and a conversation is known. The result does not depend
    /// on which of these two facts came first, because it follows from the fields alone.
    pub(super) fn mark_pending_after_leg(&mut self) {
        if let Some(since) = self.leg_ended
            && self.conversation_id.is_some()
        {
            self.transcript = self.transcript.max(Some(TranscriptState::Pending));
            self.pending_since = Some(self.pending_since.map_or(since, |own| own.min(since)));
        }
    }
}
