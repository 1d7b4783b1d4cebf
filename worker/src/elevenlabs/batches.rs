//! Batch calls (`GET /v1/convai/batch-calling/{id}`), in the form of `BatchCallDetailedResponse` of ElevenLabs'
//! SDK 2.78.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{ApiError, ElevenLabs};
use crate::domain::{
    event::{ConversationId, lenient_id},
    text::{MAX_PARTY, MAX_WORD, cut},
};

/// Largest answer that is read. ElevenLabs returns all recipients at once, each with its dynamic variables.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// A batch call with its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCall {
    /// The name that its author gave it.
    pub name: String,
    /// `pending`, `in_progress`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// The recipients, in the order of ElevenLabs.
    pub recipients: Vec<Recipient>,
}

/// A recipient of a batch call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The id of the recipient. Conversations carry it as `batch_call_recipient_id`.
    pub id: String,
    /// The telephone number, or the `WhatsApp` user.
    pub number: Option<String>,
    /// `pending`, `dispatched`, `initiated`, `in_progress`, `completed`, `failed`, `cancelled` or `voicemail`.
    pub status: String,
    /// The conversation, once there is one.
    pub conversation_id: Option<ConversationId>,
}

impl ElevenLabs {
    /// Fetches a batch call with all its recipients. `id` must satisfy [`crate::config::is_id`].
    ///
    /// # Errors
    /// [`ApiError::NotFound`] if ElevenLabs knows no such batch.
    pub async fn batch_call(&self, id: &str) -> Result<BatchCall, ApiError> {
        let request = self.request(Method::GET, &format!("/v1/convai/batch-calling/{id}"));
        self.fetch_with_retries(request, MAX_BATCH_BYTES, read).await
    }
}

/// Reads a batch. Fields that are not needed, such as the variables of each recipient, take no memory.
fn read(body: &[u8]) -> Result<BatchCall, ApiError> {
    #[derive(Deserialize)]
    struct WireBatch {
        #[serde(default)]
        name: Option<String>,
        status: String,
        recipients: Vec<WireRecipient>,
    }
    #[derive(Deserialize)]
    struct WireRecipient {
        id: String,
        #[serde(default)]
        phone_number: Option<String>,
        #[serde(default)]
        whatsapp_user_id: Option<String>,
        status: String,
        #[serde(default)]
        conversation_id: Value,
    }
    let wire: WireBatch = serde_json::from_slice(body).map_err(|_error| ApiError::Unreadable)?;
    let recipient = |wire: WireRecipient| Recipient {
        id: cut(&wire.id, MAX_PARTY),
        number: wire.phone_number.or(wire.whatsapp_user_id).map(|number| cut(&number, MAX_PARTY)),
        status: cut(&wire.status, MAX_WORD),
        conversation_id: lenient_id(&wire.conversation_id, ConversationId::new),
    };
    Ok(BatchCall {
        name: cut(&wire.name.unwrap_or_default(), MAX_PARTY),
        status: cut(&wire.status, MAX_WORD),
        recipients: wire.recipients.into_iter().map(recipient).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_with_recipients_of_any_status() {
        let body = br#"{"id":"b","name":"May","status":"in_progress","total_calls_dispatched":1,"recipients":[
            {"id":"r1","phone_number":"+6580000001","status":"completed","created_at_unix":1,"updated_at_unix":2,
             "conversation_id":"v1","conversation_initiation_client_data":{"dynamic_variables":{"x":"\ud83d"}}},
            {"id":"r2","whatsapp_user_id":"w","status":"new word","conversation_id":null}]}"#;
        let recipient = |id: &str, number: &str, status: &str, conversation: Option<&str>| Recipient {
            id: id.to_owned(),
            number: Some(number.to_owned()),
            status: status.to_owned(),
            conversation_id: conversation.map(|id| ConversationId::new(id).unwrap()),
        };
        let expected = BatchCall {
            name: "May".to_owned(),
            status: "in_progress".to_owned(),
            recipients: vec![
                recipient("r1", "+6580000001", "completed", Some("v1")),
                recipient("r2", "w", "new word", None),
            ],
        };
        assert_eq!(read(body), Ok(expected));
        assert_eq!(read(br#"{"id":"b"}"#), Err(ApiError::Unreadable));
    }
}
