//! The operations on calls that the worker needs of a database.
//!
//! Two types implement them: [`super::Store`] for MongoDB, and a model of MongoDB in the simulation, which
//! can fail at each of these operations. The code between two operations is in [`super::apply()`] and the
//! roles.

use jiff::Timestamp;

use super::{
    applied::Applied,
    call_update::CallUpdate,
    error::{Failure, StoreError},
    key::Key,
    stored_call::StoredCall,
    transcripts::TranscriptResolution,
};
use crate::domain::{
    call::{Attachment, CallPatch},
    event::ConversationId,
};

/// A transcript that is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTranscript {
    /// When it became pending.
    pub since: Option<Timestamp>,
}

/// Durable storage of calls: after `Ok`, a majority of the servers has the change in its journal.
///
/// After an error it is unknown whether anything was written. Every operation may be repeated.
pub trait Calls: Send + Sync + 'static {
    /// The stored calls with these ids, each once, as they are now. They may change at any time.
    fn read(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<StoredCall>, StoreError>> + Send;

    /// Stores each patch as a new document, unless a document has one of its ids. The statements run in one
    /// command and do not depend on each other. Returns the positions of the failed statements.
    fn insert(
        &self,
        patches: &[&CallPatch],
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Writes each update, unless the document was changed since it was read. The statements run in one command and do
    /// not depend on each other. Returns the positions of the failed statements.
    fn update(
        &self,
        updates: Vec<CallUpdate>,
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Joins the patch with all documents that its ids name and with the other documents of the same call, in
    /// one transaction: see [`crate::domain::call::conversations::join`].
    fn merge(&self, patch: &CallPatch) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Stores `file` under `id`. Does nothing if the file exists.
    fn save_file(&self, id: &str, file: &Attachment) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The pending transcript of a conversation. `None` if it is not pending.
    fn pending_transcript(
        &self,
        conversation: &ConversationId,
    ) -> impl Future<Output = Result<Option<PendingTranscript>, StoreError>> + Send;

    /// Resolves a transcript. Returns whether a call was changed: a saved transcript is never replaced.
    fn resolve_transcript(
        &self,
        conversation: &ConversationId,
        resolution: TranscriptResolution,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
