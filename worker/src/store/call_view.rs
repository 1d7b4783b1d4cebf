//! A stored call.

use jiff::Timestamp;
use mongodb::bson::{Bson, Document, oid::ObjectId};

use super::{
    call_part,
    convert::{date, whole_number},
    fields::{self, Payloads, Scope},
    key::Key,
    placement_state::PlacementState,
    revision,
    views::Cursor,
};
use crate::domain::{
    call::{CallPatch, Status},
    event::{CallId, ConversationId, PlacementId},
};

/// A stored call: the whole document, or the fields that a query requested.
#[derive(Clone, Debug)]
pub struct CallView {
    document: Document,
}

impl CallView {
    pub(crate) fn new(document: Document) -> Self {
        Self { document }
    }

    /// The status. `None` if this version does not know the stored word.
    pub fn status(&self) -> Option<Status> {
        Status::from_word(self.document.get_str("status").ok()?)
    }

    /// When the worker last received a fact about the call.
    pub fn updated_at(&self) -> Option<Timestamp> {
        date(&self.document, "updatedAt")
    }

    /// The conversation id, if known.
    pub fn conversation_id(&self) -> Option<ConversationId> {
        ConversationId::new(self.document.get_str("conversationId").ok()?).ok()
    }

    /// The call id, if known.
    pub fn call_id(&self) -> Option<CallId> {
        self.unique_call_id().or_else(|| self.shared_call_id())
    }

    /// The unique call id. If a call has several conversations, only one of their documents has it.
    fn unique_call_id(&self) -> Option<CallId> {
        CallId::new(self.document.get_str("callId").ok()?).ok()
    }

    /// The call id, if the call has several conversations.
    pub fn shared_call_id(&self) -> Option<CallId> {
        CallId::new(self.document.get_str("sharedCallId").ok()?).ok()
    }

    /// The id of the placement, if the call was placed through the API.
    pub fn placement_id(&self) -> Option<PlacementId> {
        PlacementId::new(self.document.get_str("_placementId").ok()?).ok()
    }

    /// The state of the placement, if the call was placed through the API.
    pub fn placement(&self) -> Option<PlacementState> {
        PlacementState::read(&self.document)
    }

    /// Whether the transcript is pending.
    pub fn is_transcript_pending(&self) -> bool {
        self.document.get_str("transcriptState").is_ok_and(|state| state == "owed")
    }

    /// Since when the transcript is pending.
    pub fn pending_since(&self) -> Option<Timestamp> {
        date(&self.document, "_owedSince")
    }

    /// The id of the file with the turns, and its size in bytes, if the turns do not fit into the document.
    pub fn transcript_file(&self) -> Option<(String, u64)> {
        let file = self.document.get_document("transcript").ok()?;
        let bytes = whole_number(file, "bytes")?;
        Some((file.get_str("fileId").ok()?.to_owned(), bytes))
    }

    /// The id of the file with the recording.
    pub fn recording_file(&self) -> Option<&str> {
        self.document.get_document("audio").ok()?.get_str("fileId").ok()
    }

    /// Whether the document says that its recording is stored.
    pub fn is_recording_saved(&self) -> bool {
        self.document.get_str("recordingState").is_ok_and(|state| state == "saved")
    }

    /// Since when the worker tries to fetch the recording.
    pub fn recording_since(&self) -> Option<Timestamp> {
        date(&self.document, "_recordingSince")
    }

    /// The keys by which this document is found.
    pub(super) fn keys(&self) -> Vec<Key> {
        let ids = [
            self.unique_call_id().map(Key::Call),
            self.conversation_id().map(Key::Conversation),
            self.placement_id().map(Key::Placement),
        ];
        ids.into_iter().flatten().collect()
    }

    /// The `_id` of the document, as every worker creates it.
    pub fn object_id(&self) -> Option<ObjectId> {
        self.document.get_object_id("_id").ok()
    }

    /// A number that grows with each change of the call. `None`: a worker of an earlier version wrote it.
    pub fn revision(&self) -> Option<i64> {
        revision::read(&self.document)
    }

    /// The position of the call in a list.
    pub fn position(&self) -> Option<Cursor> {
        Cursor::of(&self.document)
    }

    /// The `_id` of the document.
    pub(super) fn document_id(&self) -> Option<&Bson> {
        self.document.get("_id")
    }

    /// Reads the whole document as a patch. `None` if a field is missing that every call has.
    pub(super) fn to_patch(&self, payloads: Payloads) -> Option<CallPatch> {
        let mut call = fields::read(&self.document, Scope::Document, payloads)?;
        call.call_id = self.call_id();
        if call.is_linked() {
            call.call_part = call_part::read(&self.document, payloads).map(|mut part| {
                part.call_id.clone_from(&call.call_id);
                part.history = call.history.iter().filter(|entry| entry.names_call_alone).cloned().collect();
                Box::new(part)
            });
        }
        Some(call)
    }

    pub(super) fn document(&self) -> &Document {
        &self.document
    }
}
