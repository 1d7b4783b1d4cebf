//! What one or several events claim about a call, and the join of two such claims.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Status;
use crate::event::{CallId, ConversationId, Event, Parties};

/// Most events a call's history keeps: the latest by their own time.
pub const HISTORY_LIMIT: usize = 100;

/// A status with what decides between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusClaim {
    /// The status.
    pub status: Status,
    /// Time of the event.
    pub at: Timestamp,
    /// Its id: the last tie-break, so that the order is total.
    pub event_id: String,
    /// Why, for a failure.
    pub failure_reason: Option<String>,
}

impl StatusClaim {
    fn key(&self) -> (i32, Timestamp, &str) {
        (self.status.rank(), self.at, &self.event_id)
    }
}

/// A payload with what decides which one is the latest.
#[derive(Clone, Debug, PartialEq)]
pub struct RawClaim {
    /// Time of the event.
    pub at: Timestamp,
    /// Its id.
    pub event_id: String,
    /// The payload.
    pub payload: Map<String, Value>,
}

impl RawClaim {
    fn key(&self) -> (Timestamp, &str) {
        (self.at, &self.event_id)
    }
}

/// One line of a call's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Id of the event.
    pub event_id: String,
    /// The sender's word for it.
    pub event_type: String,
    /// The word of the status it claimed, whether or not that prevailed.
    pub status: String,
    /// The payload's own `status` word.
    pub received_status: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl HistoryEntry {
    fn key(&self) -> (Timestamp, &str) {
        (self.at, &self.event_id)
    }
}

/// How far the transcript is. Ordered: a later variant prevails over an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TranscriptState {
    /// The conversation is over and its transcript is not here yet.
    Owed,
    /// Given up, with a reason.
    Unavailable,
    /// Stored.
    Saved,
}

impl TranscriptState {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Unavailable => "unavailable",
            Self::Saved => "saved",
        }
    }
}

/// What is claimed about one call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPatch {
    /// Telephony id.
    pub call_id: Option<CallId>,
    /// Conversation id.
    pub conversation_id: Option<ConversationId>,
    /// Agent, its number, callee.
    pub parties: Parties,
    /// The status that prevails.
    pub status: Option<StatusClaim>,
    /// The latest payload.
    pub raw: Option<RawClaim>,
    /// Events by time, each once, at most [`HISTORY_LIMIT`].
    pub history: Vec<HistoryEntry>,
    /// Set to [`TranscriptState::Owed`] by an event that ends a conversation.
    pub transcript: Option<TranscriptState>,
    /// Since when a transcript is owed.
    pub owed_since: Option<Timestamp>,
    /// The earliest time known of the call.
    pub created_at: Timestamp,
    /// When the latest of this was learned.
    pub updated_at: Timestamp,
}

impl From<Event> for CallPatch {
    fn from(event: Event) -> Self {
        let Event { id, at, .. } = event;
        Self {
            call_id: event.call_id,
            conversation_id: event.conversation_id,
            parties: event.parties,
            history: vec![HistoryEntry {
                event_id: id.clone(),
                event_type: event.event_type.as_str().to_owned(),
                status: event.status.as_str().to_owned(),
                received_status: event.received_status,
                at,
            }],
            transcript: event.status.owes_transcript().then_some(TranscriptState::Owed),
            owed_since: event.status.owes_transcript().then_some(event.stored_at),
            status: Some(StatusClaim {
                status: event.status,
                at,
                event_id: id.clone(),
                failure_reason: event.failure_reason,
            }),
            raw: Some(RawClaim { at, event_id: id, payload: event.raw }),
            created_at: at.min(event.stored_at),
            updated_at: event.stored_at,
        }
    }
}

impl CallPatch {
    /// The two claims together. Commutative, associative, idempotent.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            call_id: smaller(self.call_id, other.call_id),
            conversation_id: smaller(self.conversation_id, other.conversation_id),
            parties: join_parties(self.parties, other.parties),
            status: greater(self.status, other.status, |a, b| a.key().cmp(&b.key())),
            raw: greater(self.raw, other.raw, |a, b| a.key().cmp(&b.key())),
            history: join_history(self.history, other.history),
            transcript: self.transcript.max(other.transcript),
            owed_since: smaller(self.owed_since, other.owed_since),
            created_at: self.created_at.min(other.created_at),
            updated_at: self.updated_at.max(other.updated_at),
        }
    }
}

fn join_parties(a: Parties, b: Parties) -> Parties {
    Parties {
        agent_id: smaller(a.agent_id, b.agent_id),
        agent_phone_number_id: smaller(a.agent_phone_number_id, b.agent_phone_number_id),
        to_number: smaller(a.to_number, b.to_number),
    }
}

fn join_history(mut a: Vec<HistoryEntry>, b: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    a.extend(b);
    a.sort_by(|x, y| x.key().cmp(&y.key()));
    a.dedup_by(|later, earlier| later.event_id == earlier.event_id && later.at == earlier.at);
    a.drain(..a.len().saturating_sub(HISTORY_LIMIT));
    a
}

/// The smaller of what is there: what events agree on, and a total choice where they do not.
fn smaller<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn greater<T>(a: Option<T>, b: Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if compare(&a, &b) == Ordering::Less { b } else { a }),
        (a, b) => a.or(b),
    }
}
