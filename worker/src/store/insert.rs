//! Inserts calls that are not stored yet. Because of the unique indexes, only one worker can create a document.

use jiff::Timestamp;
use mongodb::bson::RawDocumentBuf;

use super::{
    call_part,
    command::{self, Kind},
    connection::Store,
    error::{Failure, StoreError, Unstorable},
    fields::{self, Scope},
    revision,
};
use crate::domain::call::CallPatch;

/// See [`super::Calls::insert`].
pub(super) async fn insert(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    let now = Timestamp::now();
    command::run(store, Kind::Insert, patches.iter().map(|patch| new_document(patch, now))).await
}

/// The document of a new call that holds only `patch`, stored at `now`.
///
/// # Errors
/// A value that BSON cannot hold.
pub fn new_document(patch: &CallPatch, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
    let mut document = document(patch)?;
    document.append(revision::NAME, revision::next([], now));
    Ok(document)
}

/// The fields of a call that holds only `patch`, without the revision.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn document(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut document = RawDocumentBuf::new();
    fields::append(&mut document, patch, Scope::Document)?;
    if let Some(part) = &patch.call_part {
        document.append(call_part::NAME, call_part::document(part)?);
    }
    Ok(document)
}
