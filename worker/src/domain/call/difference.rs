//! Compares a patch with a stored call.

use jiff::Timestamp;

use super::{
    claims::{FieldClaim, StatusClaim},
    history::HistoryEntry,
    number_suffixes::NumberSuffixes,
    outcome::OutcomeClaim,
    patch::CallPatch,
    status::Status,
};
use crate::domain::event::Parties;

impl CallPatch {
    /// The values of this patch that differ from those of `before`. If the history differs, the result has the whole
    /// history. The three times that every patch has are always part of the result.
    #[must_use]
    pub fn difference(self, before: &Self) -> Self {
        let call_part = self.call_part.filter(|part| Some(part) != before.call_part.as_ref());
        let facts = self.facts.into_iter().filter(|(fact, value)| before.facts.get(fact) != Some(value));
        let fields = self.fields.into_iter().filter(|(field, claim)| before.fields.get(field) != Some(claim));
        Self {
            call_id: unlike(self.call_id, before.call_id.as_ref()),
            conversation_id: unlike(self.conversation_id, before.conversation_id.as_ref()),
            parent_call_id: unlike(self.parent_call_id, before.parent_call_id.as_ref()),
            placement: unlike(self.placement, before.placement.as_ref()),
            parties: Parties {
                agent_id: unlike(self.parties.agent_id, before.parties.agent_id.as_ref()),
                agent_phone_number_id: unlike(
                    self.parties.agent_phone_number_id,
                    before.parties.agent_phone_number_id.as_ref(),
                ),
                to_number: unlike(self.parties.to_number, before.parties.to_number.as_ref()),
            },
            number_suffixes: if self.number_suffixes == before.number_suffixes {
                NumberSuffixes::default()
            } else {
                self.number_suffixes
            },
            facts: facts.collect(),
            status: unlike(self.status, before.status.as_ref()),
            outcome: unlike(self.outcome, before.outcome.as_ref()),
            fields: fields.collect(),
            history: if self.history == before.history { Vec::new() } else { self.history },
            transcript: unlike(self.transcript, before.transcript.as_ref()),
            pending_since: unlike(self.pending_since, before.pending_since.as_ref()),
            leg_ended: unlike(self.leg_ended, before.leg_ended.as_ref()),
            call_part,
            ..self
        }
    }

    /// The patch with all times in whole milliseconds, as they are stored. Finer times would differ from the same times
    /// that are read back.
    #[must_use]
    pub fn in_milliseconds(mut self) -> Self {
        let milliseconds = |time: &mut Timestamp| {
            *time = Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(*time);
        };
        let claims = self.status.iter_mut().map(|StatusClaim { at, .. }| at);
        let claims = claims.chain(self.outcome.iter_mut().map(|OutcomeClaim { at, .. }| at));
        let claims = claims.chain(self.fields.values_mut().map(|FieldClaim { at, .. }| at));
        let events = self.history.iter_mut().flat_map(|HistoryEntry { at, stored_at, .. }| {
            [Some(at), stored_at.as_mut()].into_iter().flatten()
        });
        claims.chain(events).for_each(milliseconds);
        let times = [Some(&mut self.created_at), Some(&mut self.first_stored), Some(&mut self.updated_at)];
        let others = [self.pending_since.as_mut(), self.leg_ended.as_mut()];
        times.into_iter().chain(others).flatten().for_each(milliseconds);
        self.call_part = self.call_part.map(|part| Box::new(part.in_milliseconds()));
        self
    }

    /// Whether the patch changes nothing in `stored`, because all its events are part of it already: an event changes a
    /// call once. A replayed event is always joined, and so is a patch without a payload, such as an observation (the
    /// answer of ElevenLabs to a status lookup): they may say more than the stored call.
    pub fn is_known_to(&self, stored: &Self) -> bool {
        let changes_once = !self.is_replay && self.fields.keys().any(|field| field.is_payload());
        let is_stored =
            |entry: &HistoryEntry| stored.history.iter().any(|one| one.event_id == entry.event_id);
        changes_once && self.history.iter().all(is_stored)
    }

    /// The status that the call would have without the events of `patch`, by its history.
    pub fn status_without(&self, patch: &Self) -> Option<Status> {
        let is_of_patch =
            |entry: &&HistoryEntry| patch.history.iter().any(|one| one.event_id == entry.event_id);
        let others = self.history.iter().filter(|entry| !is_of_patch(entry));
        let claims = others.filter_map(|entry| {
            let status = Status::from_word(entry.status.as_deref()?)?;
            Some(((status.rank(), entry.at, entry.event_id.as_str()), status))
        });
        claims.max_by(|a, b| a.0.cmp(&b.0)).map(|(_, status)| status)
    }
}

/// `value`, unless it equals `before`.
fn unlike<T: PartialEq>(value: Option<T>, before: Option<&T>) -> Option<T> {
    value.filter(|value| Some(value) != before)
}
