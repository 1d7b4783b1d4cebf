//! What a call is, and how events change it. Pure.
//!
//! The state of a call is a join: [`CallPatch::join`] is commutative, associative and idempotent, so
//! order, repetition, batching and concurrent workers cannot matter. The update statement of
//! `store::statement` joins a patch with what MongoDB holds by the same rules.

pub mod conversations;
mod failure;
mod field;
mod patch;
pub mod size;
mod status;

pub use self::{
    failure::{FAILURE_CLASSES, failure_class, failure_reason},
    field::Field,
    patch::{CallPatch, FieldClaim, HISTORY_LIMIT, HistoryEntry, Placement, StatusClaim, TranscriptState},
    size::Attachment,
    status::Status,
};

#[cfg(test)]
mod tests;
