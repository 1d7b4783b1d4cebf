//! An event: one thing that happened to a call, in the same form for every provider.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    envelope::Origin,
    identifier::{CallId, ConversationId, PlacementId},
    parties::Parties,
};
use crate::domain::call::{Field, Status};

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The id of the webhook: see [`super::Envelope::id`].
    pub id: String,
    /// The sender's word for what happened.
    pub event_type: &'static str,
    /// The source.
    pub origin: Origin,
    /// The result of the gateway's check of the signature.
    pub signature: Option<String>,
    /// The status that the event claims for the call. Recordings and answering machine detection claim none.
    pub status: Option<Status>,
    /// The payload's own `status` word. The history keeps it, even if the claimed status does not prevail.
    pub received_status: Option<String>,
    /// Why the call failed, if the claimed status is a failure.
    pub failure_reason: Option<String>,
    /// The telephony id.
    pub call_id: Option<CallId>,
    /// The ElevenLabs conversation id.
    pub conversation_id: Option<ConversationId>,
    /// The placement. Only events of calls that were placed through the API name one.
    pub placement_id: Option<PlacementId>,
    /// The call of which this one is a leg.
    pub parent_call_id: Option<CallId>,
    /// Agent, its number and callee, as far as the payload names them.
    pub parties: Parties,
    /// When it happened: the event's own time if that counts, else the time of storage. Whole milliseconds,
    /// because MongoDB keeps dates so.
    pub at: Timestamp,
    /// Whether the event gives a time of its own that does not count.
    pub time_ignored: bool,
    /// When the broker stored the webhook, whole milliseconds.
    pub stored_at: Timestamp,
    /// When the call began, if the payload says so.
    pub began_at: Option<Timestamp>,
    /// Whether the call may be without a conversation: a leg of another call, or an inbound call. The end of
    /// such a call makes a transcript due only if a conversation of the call is known.
    pub is_leg: bool,
    /// Values that replace those of earlier events: the payload itself, and parts of it.
    pub fields: BTreeMap<Field, Value>,
    /// The recording, which is too large for a document.
    pub recording: Option<Recording>,
}

impl Event {
    /// Whether the event names the call, but neither a conversation nor a placement.
    pub fn names_call_alone(&self) -> bool {
        self.conversation_id.is_none() && self.placement_id.is_none()
    }
}

/// A recorded call: MP3. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Recording(pub Bytes);

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({} bytes)", self.0.len())
    }
}
