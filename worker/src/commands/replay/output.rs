//! Counts the webhooks and calls of a replay, and prints the result.

use crate::{
    commands::print_line,
    domain::{
        call::CallPatch,
        event::{CallId, ConversationId},
    },
    store::Preview,
};

/// The result of a replay.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Webhooks applied.
    pub webhooks: usize,
    /// Webhooks that cannot be read, or whose large bodies are gone. The worker has made dead letters of them.
    pub unreadable: usize,
    /// Webhooks whose large bodies are not available now.
    pub unavailable: usize,
    /// Patches that MongoDB refuses.
    pub refused: usize,
    /// Patches for which a dry run would create a call. Several patches can be about one call.
    pub created: usize,
    /// Patches that a dry run would apply to stored calls.
    pub changed: usize,
    /// Patches for which a dry run would merge documents.
    pub merged: usize,
}

impl Counts {
    /// The result as a line of text.
    pub fn summary(&self, dry_run: bool) -> String {
        let Self { webhooks, unreadable, unavailable: _, refused: _, created, changed, merged } = self;
        if dry_run {
            format!(
                "{webhooks} webhooks would be applied: {created} calls created, {changed} changed, {merged} merged; \
                 {unreadable} unreadable"
            )
        } else {
            format!("{webhooks} webhooks applied, {unreadable} unreadable")
        }
    }

    /// Counts the change that `patch` would make, and prints it.
    pub fn add_preview(&mut self, patch: &CallPatch, preview: &Preview) -> anyhow::Result<()> {
        let call = patch.call_id.as_ref().map(CallId::as_str);
        let name = call.or_else(|| patch.conversation_id.as_ref().map(ConversationId::as_str)).unwrap_or("-");
        match preview {
            Preview::Unchanged => Ok(()),
            Preview::Created => {
                self.created += 1;
                print_line(format!("{name}: would be created"))
            }
            Preview::Merged => {
                self.merged += 1;
                print_line(format!("{name}: documents of one call would be merged"))
            }
            Preview::Changed(differences) => {
                self.changed += 1;
                let fields = differences.iter().map(|difference| match &difference.values {
                    Some((before, after)) => format!("{} {before} → {after}", difference.field),
                    None => difference.field.clone(),
                });
                print_line(format!("{name}: would change: {}", fields.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}
