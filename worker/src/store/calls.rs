//! What keeping calls needs of a database, one operation each.
//!
//! There are two: MongoDB ([`super::Store`]), and the model of it that simulations run on, which breaks
//! at any of these points. What is decided between them is in [`super::apply()`] and in the roles.

use jiff::Timestamp;

use super::{Settled, StoreError};
use crate::domain::{
    call::{Attachment, CallPatch, Status},
    event::ConversationId,
};

/// Why one statement of a command failed, while its neighbours may have worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A unique index holds one of its ids already: another document is of the same call.
    Duplicate,
    /// It may work next time.
    Passing(i32),
    /// It never will. Label and sentence are those of a dead letter.
    Final(&'static str, String),
}

/// What is stored of a call, as far as whoever wrote a patch needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its status.
    pub status: Option<Status>,
    /// What its status would be without the events of the patch.
    pub without: Option<Status>,
    /// The conversation whose transcript is owed, its id being known.
    pub transcript_due: Option<ConversationId>,
}

/// A transcript that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owing {
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Calls, durably: what returned `Ok` a majority has in its journal.
///
/// An error leaves open whether anything was written; every operation may be repeated.
pub trait Calls: Send + Sync + 'static {
    /// Of which call ids nothing is stored, for each patch; of one without a call id that is not asked. Others
    /// write too, so this is no more than likely.
    fn unknown(&self, patches: &[&CallPatch]) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// Stores each patch as a document of its own where no document has one of its ids, as statements of one
    /// command that do not depend on each other. The positions of those that failed.
    fn insert(
        &self,
        patches: &[&CallPatch],
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Joins each patch with the document of its key, made if there is none, as statements of one command
    /// that do not depend on each other. The positions of those that failed.
    fn update(
        &self,
        patches: &[&CallPatch],
    ) -> impl Future<Output = Result<Vec<(usize, Failure)>, StoreError>> + Send;

    /// Joins the patch with all documents that its ids name, and with those of the same call, at one instant, as
    /// [`crate::domain::call::conversations::join`] says. The conversations of the call whose transcript is owed.
    fn merge(
        &self,
        patch: &CallPatch,
    ) -> impl Future<Output = Result<Vec<ConversationId>, StoreError>> + Send;

    /// What is stored of the calls of `patches`, in their order: with their statuses, or merely whose
    /// transcript is due.
    fn standings(
        &self,
        patches: &[&CallPatch],
        with_status: bool,
    ) -> impl Future<Output = Result<Vec<Standing>, StoreError>> + Send;

    /// Stores `file` under `id`, once.
    fn save_file(&self, id: &str, file: &Attachment) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether the conversation's call is owed a transcript.
    fn owing(
        &self,
        conversation: &ConversationId,
    ) -> impl Future<Output = Result<Option<Owing>, StoreError>> + Send;

    /// Stores what became of a transcript; whether there was a call to store it with. One whose
    /// transcript is saved is none.
    fn settle_transcript(
        &self,
        conversation: &ConversationId,
        settled: Settled,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
