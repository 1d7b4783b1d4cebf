//! Builds the patch of one event: what the event claims about its call.

use std::collections::BTreeMap;

use super::{
    claims::{FieldClaim, StatusClaim},
    field::Field,
    history::HistoryEntry,
    number_suffixes::NumberSuffixes,
    outcome::OutcomeClaim,
    patch::CallPatch,
    placement::Placement,
    size::{self, Attachment},
    status::Status,
    transcript_state::TranscriptState,
};
use crate::domain::event::Event;

/// The patch without the file of [`CallPatch::split`], for tests and simulation.
impl From<Event> for CallPatch {
    fn from(event: Event) -> Self {
        Self::split(event).0
    }
}

impl CallPatch {
    /// Splits `event` into its claims, without those that do not fit into a document, and the file that is stored
    /// separately.
    pub fn split(mut event: Event) -> (Self, Option<Attachment>) {
        let attachment = size::fit(&mut event);
        (Self::of(event), attachment)
    }

    fn of(event: Event) -> Self {
        let (at, stored_at) = (event.at, event.stored_at);
        let entry = HistoryEntry::of(&event);
        // The time of the claims about the call itself: status, outcome, and who answered. The other fields have the time
        // of the event.
        let concluded_at = event.concluded_at.unwrap_or(at);
        let claim = |(field, value)| {
            let at = if field == Field::AnsweredBy { concluded_at } else { at };
            (field, FieldClaim { at, event_id: event.id.clone(), value })
        };
        let fields: BTreeMap<_, _> = event.fields.into_iter().map(claim).collect();
        let transcript = if fields.contains_key(&Field::Transcript) {
            Some(TranscriptState::Saved)
        } else {
            (event.ends_conversation && !event.is_leg).then_some(TranscriptState::Pending)
        };
        let mut patch = Self {
            number_suffixes: NumberSuffixes::of_parties(&event.parties, &event.facts),
            call_id: event.call_id,
            conversation_id: event.conversation_id,
            parent_call_id: event.parent_call_id,
            leg_ended: (event.ends_conversation && event.is_leg).then_some(stored_at),
            placement: event.placement_id.map(|id| Placement { id, request: None }),
            parties: event.parties,
            facts: event.facts,
            outcome: event.outcome.map(|outcome| OutcomeClaim {
                outcome,
                at: concluded_at,
                event_id: event.id.clone(),
                is_over: event.status.is_some_and(Status::is_finished),
            }),
            fields,
            history: vec![entry],
            pending_since: (transcript == Some(TranscriptState::Pending)).then_some(stored_at),
            transcript,
            status: event.status.map(|status| StatusClaim {
                status,
                at: concluded_at,
                event_id: event.id,
                failure_reason: event.failure_reason,
            }),
            created_at: event.began_at.unwrap_or(at).min(concluded_at).min(at).min(stored_at),
            first_stored: stored_at,
            updated_at: stored_at,
            is_replay: false,
            call_part: None,
        };
        patch.mark_pending_after_leg();
        patch
    }
}

impl HistoryEntry {
    fn of(event: &Event) -> Self {
        Self {
            event_id: event.id.clone(),
            event_type: event.event_type.to_owned(),
            status: event.status.map(|status| status.as_str().to_owned()),
            received_status: event.received_status.clone(),
            origin: Some(event.origin.as_str().to_owned()),
            signature: event.signature.clone(),
            at: event.at,
            time_ignored: event.time_ignored,
            stored_at: Some(event.stored_at),
            names_call_alone: event.names_call_alone(),
        }
    }
}
