//! Which part of a document has a field.

/// Which part of a document has a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Scope {
    /// Only the document itself.
    Document,
    /// The document, and its part `_call` with what is known of the telephone call alone: see
    /// [`crate::store::of_call`].
    Call,
}

impl Scope {
    /// Whether this part has a field of the scope `field`.
    pub(super) fn includes(self, field: Self) -> bool {
        self == Self::Document || field == Self::Call
    }
}
