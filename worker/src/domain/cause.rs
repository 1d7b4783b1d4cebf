//! The cause why a message can never be processed.

use super::{event::FOREIGN_FAMILIES, reason::Reason};

/// The cause why a message becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The reason, for filters and metrics.
    pub reason: Reason,
    /// A sentence for the operator. It repeats nothing of the body except the event type and names of fields.
    pub detail: String,
}

impl Cause {
    /// The family of an event that does not concern a call. The worker skips such a message without a dead
    /// letter. `None` for every other cause.
    pub fn foreign_family(&self) -> Option<&'static str> {
        let is_named = |family: &&str| self.reason == Reason::NotAboutACall && self.detail.ends_with(*family);
        FOREIGN_FAMILIES.into_iter().find(is_named)
    }
}
