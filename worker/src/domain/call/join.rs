//! The join of two patches.

use super::{
    claims::join_fields, fact::join_facts, history::join_history, outcome::OutcomeClaim, patch::CallPatch,
    placement::join_placements,
};

impl CallPatch {
    /// Both patches together. Commutative, associative, idempotent.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.merge(other);
        self
    }

    /// Whether the patch may be joined with `other`, which names the same call. Patches of different
    /// conversations or different placements must stay separate.
    pub fn is_joinable(&self, other: &Self) -> bool {
        let placement = |patch: &Self| patch.placement.as_ref().map(|placement| placement.id.clone());
        agree(self.conversation_id.as_ref(), other.conversation_id.as_ref())
            && agree(placement(self).as_ref(), placement(other).as_ref())
    }

    /// Whether none of the three ids of the patch contradicts `other`.
    pub fn is_of_same_call(&self, other: &Self) -> bool {
        agree(self.call_id.as_ref(), other.call_id.as_ref()) && self.is_joinable(other)
    }

    /// Joins `other` into this patch.
    pub fn merge(&mut self, other: Self) {
        self.call_part = if self.is_linked() || other.is_linked() {
            let parts = [self.part_of_call(), other.part_of_call()];
            parts.into_iter().flatten().reduce(Self::join).map(Box::new)
        } else {
            None
        };
        keep_smaller(&mut self.call_id, other.call_id);
        keep_smaller(&mut self.conversation_id, other.conversation_id);
        keep_smaller(&mut self.parent_call_id, other.parent_call_id);
        self.placement = join_placements(self.placement.take(), other.placement);
        keep_smaller(&mut self.parties.agent_id, other.parties.agent_id);
        keep_smaller(&mut self.parties.agent_phone_number_id, other.parties.agent_phone_number_id);
        keep_smaller(&mut self.parties.to_number, other.parties.to_number);
        self.number_suffixes.merge(other.number_suffixes);
        if let Some(theirs) = other.status
            && self.status.as_ref().is_none_or(|ours| ours.key() < theirs.key())
        {
            self.status = Some(theirs);
        }
        self.outcome = OutcomeClaim::join(self.outcome.take(), other.outcome);
        join_facts(&mut self.facts, other.facts);
        join_fields(&mut self.fields, other.fields);
        join_history(&mut self.history, other.history);
        self.transcript = self.transcript.max(other.transcript);
        keep_smaller(&mut self.pending_since, other.pending_since);
        keep_smaller(&mut self.leg_ended, other.leg_ended);
        self.mark_pending_after_leg();
        self.created_at = self.created_at.min(other.created_at);
        self.first_stored = self.first_stored.min(other.first_stored);
        self.is_replay |= other.is_replay;
        self.updated_at = self.updated_at.max(other.updated_at);
    }
}

/// Whether two ids are equal, or one is unknown.
fn agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.zip(b).is_none_or(|(a, b)| a == b)
}

/// Keeps the smaller value. Usually both values are equal. If they differ, the choice does not depend on the
/// order of the patches.
fn keep_smaller<T: Ord>(ours: &mut Option<T>, theirs: Option<T>) {
    if let Some(theirs) = theirs
        && ours.as_ref().is_none_or(|ours| theirs < *ours)
    {
        *ours = Some(theirs);
    }
}
