//! Whether the values of events are read.

/// Whether the values of [`crate::domain::call::Field`] are read from a document. They may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Payloads {
    /// They are read.
    Included,
    /// Only their keys are read.
    Excluded,
}
