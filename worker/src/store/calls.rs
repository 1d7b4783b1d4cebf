//! The operations on calls that the worker needs of a database.
//!
//! Two types implement them: [`super::Store`] for MongoDB, and a model of MongoDB in the simulation, which
//! can fail at each of these operations. The code between two operations is in [`super::apply()`] and the
//! roles.

use jiff::Timestamp;

use super::{
    error::{Failure, StoreError},
    transcripts::TranscriptResolution,
};
use crate::domain::{
    call::{Attachment, CallPatch, Status},
    event::ConversationId,
};

/// The state of a call after its patch was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOutcome {
    /// The status.
    pub status: Option<Status>,
    /// The status that the call would have without the events of the patch.
    pub status_without: Option<Status>,
    /// The conversation whose transcript is pending, if its id is known.
    pub transcript_due: Option<ConversationId>,
}

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
    /// For each patch, whether nothing is stored under its call id. `false` for a patch without a call id.
    /// Other workers write at the same time, so the answer may be outdated.
    fn unknown(&self, patches: &[&CallPatch]) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// Stores each patch as a new document, unless a document has one of its ids. The statements run in one
    /// command and do not depend on each other. Returns the positions of the failed statements.
    fn insert(
        &self,
        patches: &[&CallPatch],
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Joins each patch with the document of its key, or creates the document. The statements run in one
    /// command and do not depend on each other. Returns the positions of the failed statements.
    fn update(
        &self,
        patches: &[&CallPatch],
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Joins the patch with all documents that its ids name and with the other documents of the same call, in
    /// one transaction: see [`crate::domain::call::conversations::join`]. Returns the conversations of the
    /// call whose transcript is pending.
    fn merge(
        &self,
        patch: &CallPatch,
    ) -> impl Future<Output = Result<Vec<ConversationId>, StoreError>> + Send;

    /// The state of the calls of `patches`, in their order. Without `with_status` only the pending
    /// transcripts are looked up.
    fn outcomes(
        &self,
        patches: &[&CallPatch],
        with_status: bool,
    ) -> impl Future<Output = Result<Vec<PatchOutcome>, StoreError>> + Send;

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
