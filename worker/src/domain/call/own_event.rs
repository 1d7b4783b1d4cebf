//! Changes of a call that no webhook brought: placements, answers of ElevenLabs to status lookups, and the end of a call
//! of which no source says how it turned out.

use jiff::Timestamp;

use super::{CallPatch, HistoryEntry, Outcome, OutcomeClaim, Status, StatusClaim};
use crate::domain::event::ConversationId;

/// An event that no webhook brought. It claims a status.
#[derive(Clone, Debug)]
pub struct OwnEvent {
    /// Deterministic id: the same event has the same id.
    pub id: String,
    /// The type in the history.
    pub event_type: String,
    /// The source in the history.
    pub origin: &'static str,
    /// The status that the event claims.
    pub status: Status,
    /// The status word of ElevenLabs, if it gave one.
    pub received_status: Option<String>,
    /// Why the call failed, if the status is a failure.
    pub failure_reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// When the worker learned of it. `None`: at the same time, and the history does not say so.
    pub stored_at: Option<Timestamp>,
}

/// The end of a call of which nobody said how it turned out.
pub fn unconcluded(conversation: &ConversationId, now: Timestamp) -> CallPatch {
    let event_id = format!("unconcluded:{}", conversation.as_str());
    CallPatch {
        conversation_id: Some(conversation.clone()),
        outcome: Some(OutcomeClaim {
            outcome: Outcome::Unknown,
            at: now,
            event_id: event_id.clone(),
            is_over: true,
        }),
        history: vec![HistoryEntry {
            event_id,
            event_type: "call.unconcluded".to_owned(),
            status: None,
            received_status: None,
            origin: Some("reconciliation".to_owned()),
            signature: None,
            at: now,
            time_ignored: false,
            stored_at: Some(now),
            names_call_alone: false,
        }],
        created_at: now,
        first_stored: now,
        updated_at: now,
        ..CallPatch::empty()
    }
}

impl From<OwnEvent> for CallPatch {
    /// The claim and the history entry of the event. The patch names no call yet.
    fn from(event: OwnEvent) -> Self {
        let OwnEvent { id, event_type, origin, status, received_status, failure_reason, at, stored_at } =
            event;
        let learned_at = stored_at.unwrap_or(at);
        Self {
            outcome: OutcomeClaim::of_status(status, at, &id),
            status: Some(StatusClaim { status, at, event_id: id.clone(), failure_reason }),
            history: vec![HistoryEntry {
                event_id: id,
                event_type,
                status: Some(status.as_str().to_owned()),
                received_status,
                origin: Some(origin.to_owned()),
                signature: None,
                at,
                time_ignored: false,
                stored_at,
                names_call_alone: false,
            }],
            created_at: at,
            first_stored: learned_at,
            updated_at: learned_at,
            ..Self::empty()
        }
    }
}
