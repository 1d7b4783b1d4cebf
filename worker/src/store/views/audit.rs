//! The audit, for its page of the console.

use super::{
    connection::{SERVER_TIME, Views},
    plan::Cursor,
};
use crate::{
    domain::audit::AuditEntry,
    store::{audit, error::StoreError},
};

/// Entries on one page.
const PAGE: usize = 100;

/// A page of the audit, the latest entry first.
#[derive(Clone, Debug, Default)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The position behind which the next page begins. `None`: this is the last page.
    pub next: Option<Cursor>,
}

impl Views {
    /// The entries before `before`.
    pub async fn audit(&self, before: Option<Cursor>) -> Result<AuditPage, StoreError> {
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let found = self.ask(audit::page(self.store.audit_collection(), before, limit, SERVER_TIME)).await?;
        let more = found.len() > PAGE;
        let known: Vec<_> = found.iter().take(PAGE).filter_map(audit::read).collect();
        let next = known.last().filter(|_| more).map(|(position, _)| *position);
        Ok(AuditPage { entries: known.into_iter().map(|(_, entry)| entry).collect(), next })
    }
}
