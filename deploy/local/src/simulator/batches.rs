//! Batch calls, in the shapes of `BatchCallDetailedResponse` and `OutboundCallRecipientResponseModel` of the
//! vendor's SDK.
//!
//! Every recipient is dialled at once, with two exceptions by the last two digits of its number: 98 stays
//! `pending`, 99 is `cancelled`. Guessed: the status `failed` of a recipient who did not answer or whose
//! conversation failed, and that a conversation which was not connected carries the batch too.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    calls::{Call, Phase},
    options::Outcome,
};

/// A submitted batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub id: String,
    pub name: String,
    pub agent_id: Value,
    pub number_id: Value,
    pub began: Timestamp,
    pub recipients: Vec<Recipient>,
}

/// A recipient of a batch.
#[derive(Debug)]
pub(super) struct Recipient {
    pub id: String,
    pub number: String,
    pub client_data: Value,
    /// The conversation, if the recipient was dialled.
    pub conversation_id: Option<String>,
}

impl Batch {
    /// The batch with its recipients, as the phases of `calls` make it.
    pub(super) fn detail(&self, calls: &[Call]) -> Value {
        let mut detail = self.json(calls);
        let recipients = self.recipients.iter().map(|recipient| recipient.json(calls, self.began));
        detail["recipients"] = recipients.collect();
        detail
    }

    /// The batch without its recipients.
    pub(super) fn json(&self, calls: &[Call]) -> Value {
        let all = self.recipients.iter();
        let dialled = all.clone().filter(|recipient| recipient.conversation_id.is_some()).count();
        let over = all.clone().filter(|recipient| recipient.call(calls).is_some_and(Call::is_over));
        let (over, began) = (over.count(), self.began.as_second());
        json!({
            "id": self.id, "name": self.name, "agent_id": self.agent_id, "agent_name": "Simulated agent",
            "phone_number_id": self.number_id, "phone_provider": "twilio", "telephony_call_config": {},
            "created_at_unix": began, "scheduled_time_unix": began, "last_updated_at_unix": began,
            "total_calls_dispatched": dialled, "total_calls_scheduled": self.recipients.len(),
            "total_calls_finished": over, "retry_count": 0,
            "status": if over == self.recipients.len() { "completed" } else { "in_progress" },
        })
    }
}

impl Recipient {
    /// Whether the recipient is never dialled.
    pub(super) fn stays_undialled(&self) -> bool {
        self.number.ends_with("98") || self.number.ends_with("99")
    }

    fn call<'a>(&self, calls: &'a [Call]) -> Option<&'a Call> {
        let id = self.conversation_id.as_deref()?;
        calls.iter().find(|call| call.dialled.conversation_id == id)
    }

    fn status(&self, call: Option<&Call>) -> &'static str {
        match call.map(|call| (call.phase, call.outcome)) {
            None if self.number.ends_with("99") => "cancelled",
            None => "pending",
            Some((Phase::Initiated | Phase::Ringing, _)) => "initiated",
            Some((Phase::InProgress | Phase::Processing, _)) => "in_progress",
            Some((Phase::Over, Outcome::Answered)) => "completed",
            Some((Phase::Over, Outcome::Voicemail)) => "voicemail",
            Some((Phase::Over, _)) => "failed",
        }
    }

    fn json(&self, calls: &[Call], began: Timestamp) -> Value {
        let status = self.status(self.call(calls));
        json!({
            "id": self.id, "phone_number": self.number, "status": status,
            "created_at_unix": began.as_second(), "updated_at_unix": began.as_second(),
            "conversation_id": self.conversation_id, "conversation_initiation_client_data": self.client_data,
        })
    }
}
