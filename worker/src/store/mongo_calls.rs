//! Implements [`Calls`] with MongoDB.

use super::{
    applied::Applied,
    call_update::{self, CallUpdate},
    call_view::CallView,
    calls::{Calls, PendingTranscript},
    connection::Store,
    error::{Failure, StoreError},
    files, insert,
    key::Key,
    merge,
    stored_call::{self, StoredCall},
    transcripts::{self, TranscriptResolution},
};
use crate::domain::{
    call::{Attachment, CallPatch},
    event::ConversationId,
};

impl Calls for Store {
    async fn read(&self, keys: &[Key]) -> Result<Vec<StoredCall>, StoreError> {
        stored_call::read(self, keys).await
    }

    async fn insert(&self, patches: &[&CallPatch]) -> Result<Vec<(usize, Failure)>, StoreError> {
        insert::insert(self, patches).await
    }

    async fn update(&self, updates: Vec<CallUpdate>) -> Result<Vec<(usize, Failure)>, StoreError> {
        call_update::update(self, updates).await
    }

    async fn merge(&self, patch: &CallPatch) -> Result<Applied, StoreError> {
        merge::merge(self, patch.clone()).await
    }

    async fn save_file(&self, id: &str, file: &Attachment) -> Result<(), StoreError> {
        files::store(self, id, file).await
    }

    async fn pending_transcript(
        &self,
        conversation: &ConversationId,
    ) -> Result<Option<PendingTranscript>, StoreError> {
        let call = self.find(None, Some(conversation)).await?;
        Ok(call
            .filter(CallView::is_transcript_pending)
            .map(|call| PendingTranscript { since: call.pending_since() }))
    }

    /// `false` has a second cause: a transaction merged the document into another one. The update waits for the
    /// transaction, and then does not find the document. The caller has to look the call up again.
    async fn resolve_transcript(
        &self,
        conversation: &ConversationId,
        resolution: TranscriptResolution,
    ) -> Result<bool, StoreError> {
        let (filter, update) = transcripts::resolve_statement(conversation, resolution);
        let calls = self.calls.clone();
        let updated = self.run(async move { calls.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }
}
