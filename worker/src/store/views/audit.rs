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
    /// The position after which the next page begins. `None`: this is the last page.
    pub next: Option<Cursor>,
}

impl Views {
    /// The entries before `before`.
    pub async fn audit(&self, before: Option<Cursor>) -> Result<AuditPage, StoreError> {
        let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let found = self.ask(audit::page(self.store.audit_collection(), before, limit, SERVER_TIME)).await?;
        let more = found.len() > PAGE;
        let shown = &found[..found.len().min(PAGE)];
        let next = shown.last().filter(|_| more).and_then(audit::position);
        Ok(AuditPage { entries: shown.iter().filter_map(audit::from_document).collect(), next })
    }
}
