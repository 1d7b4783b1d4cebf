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
use crate::domain::call::{Facts, Field, Outcome, Status};

/// One thing that happened to a call.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of the payload, and independent of the others"
)]
pub struct Event {
    /// The id of the webhook: see [`super::Envelope::id`].
    pub id: String,
    /// The event type in its usual spelling, for example `call.busy` or `twilio.busy`.
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
    /// The placement. Only events of calls that were placed through the API name a placement.
    pub placement_id: Option<PlacementId>,
    /// The parent call, if this call is a leg of another call.
    pub parent_call_id: Option<CallId>,
    /// The agent, the agent's telephone number and the callee, if the payload names them.
    pub parties: Parties,
    /// Other facts that the payload states.
    pub facts: Facts,
    /// How the call turned out, if the payload says something about it.
    pub outcome: Option<Outcome>,
    /// When the event happened: its own time if that is near the time of storage, else the time of storage.
    /// In whole milliseconds, because MongoDB stores dates with this precision.
    pub at: Timestamp,
    /// Whether the event states a time that is ignored, because it is unreadable or too far from the time of
    /// storage.
    pub time_ignored: bool,
    /// When the broker stored the webhook, in whole milliseconds.
    pub stored_at: Timestamp,
    /// When the call began, if the payload says so.
    pub began_at: Option<Timestamp>,
    /// When the conversation ended, if the payload is a conversation that says so. Then this is the time of
    /// the status, of the outcome and of the kind of party that answered: a webhook is sent some time later,
    /// and the same conversation has the same claims whatever brought it.
    pub concluded_at: Option<Timestamp>,
    /// Whether a conversation may have taken place and is over, so that its transcript is due.
    pub ends_conversation: bool,
    /// Whether the call may have no conversation, because it is a leg of another call or an inbound call. The
    /// end of such a call makes a transcript due only if a conversation of the call is known.
    pub is_leg: bool,
    /// Values that replace the values of earlier events: the payload itself, and parts of it.
    pub fields: BTreeMap<Field, Value>,
    /// The recording, which is too large for a document.
    pub recording: Option<Recording>,
    /// Whether ElevenLabs says that it has a recording of the conversation, which is over.
    pub has_audio: bool,
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
