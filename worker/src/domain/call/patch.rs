//! What one or several events claim about a call, and the join of two such claims.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Attachment, Field, Status, size};
#[cfg(doc)]
use crate::domain::event::Origin;
use crate::domain::event::{CallId, ConversationId, Event, Parties, PlacementId};

/// Most events that a history keeps of the call, and most that it keeps of the conversation: the latest by
/// their own time.
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
    /// What decides which of two prevails: the greater.
    pub fn key(&self) -> (i32, Timestamp, &str) {
        (self.status.rank(), self.at, &self.event_id)
    }
}

/// The value of a [`Field`] with what decides which one is the latest.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldClaim {
    /// Time of the event.
    pub at: Timestamp,
    /// Its id.
    pub event_id: String,
    /// The value.
    pub value: Value,
}

impl FieldClaim {
    fn key(&self) -> (Timestamp, &str) {
        (self.at, &self.event_id)
    }
}

/// An outbound call that was placed through us.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Our id for it, which travels to ElevenLabs and back as a dynamic variable.
    pub id: PlacementId,
    /// What was asked of ElevenLabs; not known to webhooks.
    pub request: Option<Map<String, Value>>,
}

/// One line of a call's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Id of the event.
    pub event_id: String,
    /// The sender's word for it.
    pub event_type: String,
    /// The word of the status it claimed, whether or not that prevailed; some events claim none.
    pub status: Option<String>,
    /// The payload's own `status` word.
    pub received_status: Option<String>,
    /// Who told us: see [`Origin`].
    pub origin: Option<String>,
    /// What was found of its signature, for what came as a webhook.
    pub signature: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// Whether it gave itself a time that does not count, so that this is when it was stored.
    pub time_ignored: bool,
    /// When it was stored with us, which tells what came late. `None` in documents of earlier versions.
    pub stored_at: Option<Timestamp>,
    /// Whether it names the call and no conversation, so that it counts for each conversation of the call.
    pub of_call: bool,
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
    /// The call that this one is a leg of.
    pub parent_call_id: Option<CallId>,
    /// The placement it came from, for a call placed through us.
    pub placement: Option<Placement>,
    /// Agent, its number, callee.
    pub parties: Parties,
    /// The status that prevails.
    pub status: Option<StatusClaim>,
    /// What the latest event that has it says.
    pub fields: BTreeMap<Field, FieldClaim>,
    /// Events by time, each once, at most [`HISTORY_LIMIT`].
    pub history: Vec<HistoryEntry>,
    /// [`TranscriptState::Owed`] by an event that ends a conversation, [`TranscriptState::Saved`] by one
    /// that brings the transcript.
    pub transcript: Option<TranscriptState>,
    /// Since when a transcript is owed.
    pub owed_since: Option<Timestamp>,
    /// Since when a transcript is owed if a conversation is known: from the end of a line that need not have
    /// one.
    pub leg_ended: Option<Timestamp>,
    /// The earliest time known of the call.
    pub created_at: Timestamp,
    /// When the first of this was stored: retention counts from here.
    pub first_stored: Timestamp,
    /// When the latest of this was learned.
    pub updated_at: Timestamp,
    /// The part that events claim which name the call alone. See [`super::conversations`]. Absent where there
    /// is no such part, and where it is the whole: [`CallPatch::is_linked`] tells.
    pub of_call: Option<Box<CallPatch>>,
}

impl From<Event> for CallPatch {
    fn from(event: Event) -> Self {
        Self::split(event).0
    }
}

impl CallPatch {
    /// What `event` claims, as far as a document has room for it, and what is kept beside the document.
    pub fn split(mut event: Event) -> (Self, Option<Attachment>) {
        let attachment = size::fit(&mut event);
        (Self::of(event), attachment)
    }

    fn of(event: Event) -> Self {
        let of_call = event.names_call_alone();
        let Event { id, at, stored_at, .. } = event;
        let claim = |value| FieldClaim { at, event_id: id.clone(), value };
        let fields: BTreeMap<_, _> =
            event.fields.into_iter().map(|(field, value)| (field, claim(value))).collect();
        let owes = event.status.is_some_and(Status::owes_transcript);
        let transcript = if fields.contains_key(&Field::Transcript) {
            Some(TranscriptState::Saved)
        } else {
            (owes && !event.is_leg).then_some(TranscriptState::Owed)
        };
        let mut patch = Self {
            call_id: event.call_id,
            conversation_id: event.conversation_id,
            parent_call_id: event.parent_call_id,
            leg_ended: (owes && event.is_leg).then_some(stored_at),
            placement: event.placement_id.map(|id| Placement { id, request: None }),
            parties: event.parties,
            fields,
            history: vec![HistoryEntry {
                event_id: id.clone(),
                event_type: event.event_type.to_owned(),
                status: event.status.map(|status| status.as_str().to_owned()),
                received_status: event.received_status,
                origin: Some(event.origin.as_str().to_owned()),
                signature: event.signature,
                at,
                time_ignored: event.time_ignored,
                stored_at: Some(stored_at),
                of_call,
            }],
            owed_since: (transcript == Some(TranscriptState::Owed)).then_some(stored_at),
            transcript,
            status: event.status.map(|status| StatusClaim {
                status,
                at,
                event_id: id,
                failure_reason: event.failure_reason,
            }),
            created_at: event.began_at.unwrap_or(at).min(at).min(stored_at),
            first_stored: stored_at,
            updated_at: stored_at,
            of_call: None,
        };
        patch.owe_for_leg();
        patch
    }
}

impl CallPatch {
    /// The two claims together. Commutative, associative, idempotent.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.take_in(other);
        self
    }

    /// Whether it names a conversation or a placement. Otherwise all of it is of the call.
    pub fn is_linked(&self) -> bool {
        self.conversation_id.is_some() || self.placement.is_some()
    }

    /// Whether it can be joined with `other`, which names the same call: not if that is of another conversation.
    pub fn is_joinable(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            a.zip(b).is_none_or(|(a, b)| a == b)
        }
        let placement = |patch: &Self| patch.placement.as_ref().map(|placement| placement.id.clone());
        agree(self.conversation_id.as_ref(), other.conversation_id.as_ref())
            && agree(placement(self).as_ref(), placement(other).as_ref())
    }

    /// What events claim that name the call alone.
    pub fn part_of_call(&self) -> Option<Self> {
        if self.is_linked() { self.of_call.as_deref().cloned() } else { Some(self.clone()) }
    }

    /// Gives up the identifier that counts least: the event still belongs to the call that it names first.
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

    /// Joins `other` into this.
    pub fn take_in(&mut self, other: Self) {
        self.of_call = if self.is_linked() || other.is_linked() {
            let parts = [self.part_of_call(), other.part_of_call()];
            parts.into_iter().flatten().reduce(Self::join).map(Box::new)
        } else {
            None
        };
        take_smaller(&mut self.call_id, other.call_id);
        take_smaller(&mut self.conversation_id, other.conversation_id);
        take_smaller(&mut self.parent_call_id, other.parent_call_id);
        self.placement = join_placements(self.placement.take(), other.placement);
        take_smaller(&mut self.parties.agent_id, other.parties.agent_id);
        take_smaller(&mut self.parties.agent_phone_number_id, other.parties.agent_phone_number_id);
        take_smaller(&mut self.parties.to_number, other.parties.to_number);
        if let Some(theirs) = other.status
            && self.status.as_ref().is_none_or(|ours| ours.key() < theirs.key())
        {
            self.status = Some(theirs);
        }
        join_fields(&mut self.fields, other.fields);
        join_history(&mut self.history, other.history);
        self.transcript = self.transcript.max(other.transcript);
        take_smaller(&mut self.owed_since, other.owed_since);
        take_smaller(&mut self.leg_ended, other.leg_ended);
        self.owe_for_leg();
        self.created_at = self.created_at.min(other.created_at);
        self.first_stored = self.first_stored.min(other.first_stored);
        self.updated_at = self.updated_at.max(other.updated_at);
    }

    /// The end of a leg makes a transcript due once a conversation is known. Whichever comes first, the outcome
    /// is the same: this only ever adds what is implied by what is there.
    fn owe_for_leg(&mut self) {
        if let Some(since) = self.leg_ended
            && self.conversation_id.is_some()
        {
            self.transcript = self.transcript.max(Some(TranscriptState::Owed));
            take_smaller(&mut self.owed_since, Some(since));
        }
    }
}

/// The smaller id, as of the other identifiers; a request belongs to its id.
fn join_placements(a: Option<Placement>, b: Option<Placement>) -> Option<Placement> {
    match (a, b) {
        (Some(a), Some(b)) if a.id == b.id => Some(Placement { id: a.id, request: a.request.or(b.request) }),
        (Some(a), Some(b)) => Some(if a.id < b.id { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn join_fields(ours: &mut BTreeMap<Field, FieldClaim>, theirs: BTreeMap<Field, FieldClaim>) {
    for (field, theirs) in theirs {
        match ours.get(&field) {
            Some(ours) if ours.key() >= theirs.key() => {}
            _ => drop(ours.insert(field, theirs)),
        }
    }
}

fn join_history(ours: &mut Vec<HistoryEntry>, theirs: Vec<HistoryEntry>) {
    ours.extend(theirs);
    // The same event stored twice is one, as of its first time, which is also its own where it brought none.
    let first = |entry: &HistoryEntry| (entry.at, entry.stored_at.is_none(), entry.stored_at);
    ours.sort_by(|x, y| {
        let by_time = x.event_id.cmp(&y.event_id).then(first(x).cmp(&first(y)));
        by_time.then(x.of_call.cmp(&y.of_call)).then_with(|| x.signature.cmp(&y.signature))
    });
    ours.dedup_by(|later, earlier| later.event_id == earlier.event_id);
    ours.sort_by(|x, y| x.key().cmp(&y.key()));
    for of_call in [false, true] {
        let count = ours.iter().filter(|entry| entry.of_call == of_call).count();
        let mut excess = count.saturating_sub(HISTORY_LIMIT);
        ours.retain(|entry| {
            let drops = entry.of_call == of_call && excess > 0;
            excess -= usize::from(drops);
            !drops
        });
    }
}

/// The smaller of what is there: what events agree on, and a total choice where they do not.
fn take_smaller<T: Ord>(ours: &mut Option<T>, theirs: Option<T>) {
    if let Some(theirs) = theirs
        && ours.as_ref().is_none_or(|ours| theirs < *ours)
    {
        *ours = Some(theirs);
    }
}
