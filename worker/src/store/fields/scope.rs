//! The parts of a document that have a field.

/// The parts of a document that have a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Scope {
    /// Only the document itself.
    Document,
    /// The document, and its part `_call`, which holds the facts about the telephone call alone: see
    /// [`crate::store::call_part`].
    Call,
}

impl Scope {
    /// Whether this part has a field of the scope `field`.
    pub(super) fn includes(self, field: Self) -> bool {
        self == Self::Document || field == Self::Call
    }
}
