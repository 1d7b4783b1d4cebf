//! Inserts calls that are not stored yet.
//!
//! The inserted document is the same, byte for byte, as the document that the update statement of the patch
//! would create. An insert takes the server a quarter of the time, because the server evaluates no
//! expression. Because of the unique indexes, only one of the two can create the document.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{RawDocumentBuf, doc, raw::cstr};

use super::{
    command::{self, Kind},
    connection::{SERVER_TIME, Store},
    error::{Failure, StoreError, Unstorable},
    fields::{self, Scope},
    of_call, revision,
};
use crate::domain::call::CallPatch;

/// See [`super::Calls::unknown`].
pub(super) async fn unknown(store: &Store, patches: &[&CallPatch]) -> Result<Vec<bool>, StoreError> {
    let ids: Vec<_> = patches.iter().filter_map(|patch| Some(patch.call_id.as_ref()?.as_str())).collect();
    // The index of call ids alone answers this query.
    let (filter, fields) = (doc! { "callId": { "$in": ids } }, doc! { "_id": 0, "callId": 1 });
    let calls = store.calls.clone_with_type::<RawDocumentBuf>();
    let found: Vec<_> =
        store
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
    let known: HashSet<_> = found.iter().filter_map(|document| document.get_str("callId").ok()).collect();
    let is_unknown =
        |patch: &&CallPatch| patch.call_id.as_ref().is_some_and(|id| !known.contains(id.as_str()));
    Ok(patches.iter().map(is_unknown).collect())
}

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
pub(super) fn new_document(patch: &CallPatch, now: Timestamp) -> Result<RawDocumentBuf, Unstorable> {
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
    if let Some(part) = &patch.of_call {
        document.append(cstr!("_call"), of_call::document(part)?);
    }
    Ok(document)
}
