//! The identifier by which the document of a call is found.

use mongodb::bson::{
    Document, doc,
    raw::{CStr, cstr},
};

use crate::domain::{
    call::CallPatch,
    event::{CallId, ConversationId, PlacementId},
};

/// An identifier of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The call id.
    Call(CallId),
    /// The conversation id.
    Conversation(ConversationId),
    /// The id of the placement.
    Placement(PlacementId),
}

impl Key {
    /// The identifier by which the document of `patch` is found first: the call id, else the conversation id, else the id
    /// of the placement. The call id is first, because providers give it first. `None`: the patch names no call.
    pub fn of(patch: &CallPatch) -> Option<Self> {
        Self::all_of(patch).next()
    }

    /// The identifier that finds the document after the write: the conversation id if it is known, because several
    /// documents can have one call id. Otherwise as [`Self::of`].
    pub fn of_document(patch: &CallPatch) -> Option<Self> {
        patch.conversation_id.clone().map(Self::Conversation).or_else(|| Self::of(patch))
    }

    /// Every identifier of the patch: call id, conversation id, id of the placement.
    pub fn all_of(patch: &CallPatch) -> impl Iterator<Item = Self> {
        let placement = patch.placement.as_ref().map(|placement| Self::Placement(placement.id.clone()));
        [
            patch.call_id.clone().map(Self::Call),
            patch.conversation_id.clone().map(Self::Conversation),
            placement,
        ]
        .into_iter()
        .flatten()
    }

    /// The name of its field.
    pub(super) fn field(&self) -> &'static CStr {
        match self {
            Self::Call(_) => cstr!("callId"),
            Self::Conversation(_) => cstr!("conversationId"),
            Self::Placement(_) => cstr!("_placementId"),
        }
    }

    /// The identifier as a text.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Call(id) => id.as_str(),
            Self::Conversation(id) => id.as_str(),
            Self::Placement(id) => id.as_str(),
        }
    }

    /// The filter that finds the document.
    pub fn filter(&self) -> Document {
        doc! { self.field().as_str(): self.id() }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::domain::event::{Envelope, Origin, Provider, parse};

    #[test]
    fn a_call_is_found_by_its_call_id_if_it_has_one() {
        let key = |body: serde_json::Value| {
            let envelope = Envelope::new("e1", Timestamp::UNIX_EPOCH, Origin::Webhook(Provider::ElevenLabs));
            let patch: CallPatch = parse(&envelope, body.to_string().as_bytes()).unwrap().into();
            Key::of(&patch).unwrap().filter()
        };
        let both = json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" });
        assert_eq!(key(both), doc! { "callId": "c" });
        let conversation = json!({ "event_type": "call.busy", "conversation_id": "v" });
        assert_eq!(key(conversation), doc! { "conversationId": "v" });
    }
}
