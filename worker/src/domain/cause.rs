//! Why a message cannot be processed, whatever is tried.

use super::event::{FOREIGN_FAMILIES, NOT_ABOUT_A_CALL};

/// Why a message becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable label, for filters and metrics.
    pub label: &'static str,
    /// A sentence for the operator: of the body it repeats an event type at most, and names of fields.
    pub detail: String,
}

impl Cause {
    /// The family of an event that does not concern a call. There is nothing wrong with it: it is passed over.
    pub fn foreign_family(&self) -> Option<&'static str> {
        let is_its = |family: &&str| self.label == NOT_ABOUT_A_CALL && self.detail.ends_with(*family);
        FOREIGN_FAMILIES.into_iter().find(is_its)
    }
}
