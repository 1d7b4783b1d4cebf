//! A conversation at ElevenLabs, and the event that it is for its call. Pure.
//!
//! A webhook, a reconciliation pass, a status lookup and the fetch of a transcript get the same JSON object from
//! ElevenLabs. All of them read it in the same way: as the body of the webhook, by
//! [`crate::domain::event::parse`].

mod in_progress;
mod status;
mod webhook;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::{
    in_progress::{OBSERVATION, observe},
    status::ConversationStatus,
    webhook::{MissingWebhook, event_id, missing_webhook, placement_of},
};
use super::event::{self, ConversationId, Envelope, Event, Origin};

/// A conversation as the API returns it, with a state that this version knows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Conversation {
    status: ConversationStatus,
    fields: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for Conversation {
    type Error = serde_json::Error;

    fn try_from(fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let status = ConversationStatus::deserialize(fields.get("status").unwrap_or(&Value::Null))?;
        Ok(Self { status, fields })
    }
}

impl Conversation {
    /// The state of the conversation.
    pub fn status(&self) -> ConversationStatus {
        self.status
    }

    /// Every field of the conversation.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The turns, in the form of the API.
    pub fn turns(&self) -> &[Value] {
        self.fields.get("transcript").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether the conversation has a list of turns, which may be empty.
    pub fn has_turns(&self) -> bool {
        self.fields.get("transcript").is_some_and(Value::is_array)
    }

    /// Why the conversation failed, if ElevenLabs gives a reason.
    pub fn failure_reason(&self) -> Option<&str> {
        event::given_reason(&self.fields)
    }

    /// Whether the call was never connected, so that the conversation will never begin.
    pub fn never_connected(&self) -> bool {
        event::never_connected(&self.fields)
    }

    /// The event that the webhook of the conversation would have brought. `None` if the conversation goes on, or
    /// if a webhook with this conversation would be refused.
    pub fn event(&self, id: &ConversationId, now: Timestamp) -> Option<Event> {
        let webhook = missing_webhook(id, self.fields.clone(), None)?;
        let envelope = Envelope::new(webhook.id, now, Origin::Reconciliation);
        event::parse(&envelope, webhook.body.to_string().as_bytes()).ok()
    }
}
