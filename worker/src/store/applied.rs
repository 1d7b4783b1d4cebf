//! The effect of a patch on its call.

use crate::domain::{
    call::{CallPatch, Status, TranscriptState},
    event::ConversationId,
};

/// A patch that is part of its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The status of the call without the patch. `None` for a new call.
    pub before: Option<Status>,
    /// The status of the call with the patch.
    pub after: Option<Status>,
    /// The conversations whose transcripts are pending and can be fetched.
    pub transcripts_due: Vec<ConversationId>,
}

impl Applied {
    /// The effect of `patch`, after which its call has the `documents`. Of several documents the first one shows the
    /// status.
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a CallPatch>, patch: &CallPatch) -> Self {
        let mut documents = documents.into_iter().peekable();
        let (before, after) = documents.peek().map_or((None, None), |first| {
            (first.status_without(patch), first.status.as_ref().map(|claim| claim.status))
        });
        let is_due = |call: &&CallPatch| call.transcript == Some(TranscriptState::Pending);
        let mut transcripts_due: Vec<_> =
            documents.filter(is_due).filter_map(|call| call.conversation_id.clone()).collect();
        transcripts_due.sort_unstable();
        transcripts_due.dedup();
        Self { before, after, transcripts_due }
    }
}
