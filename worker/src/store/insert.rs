//! Calls of which nothing is stored: the document that the update statement of a patch would make of nothing.
//!
//! The server stores a document in a quarter of the time of a statement that it has to evaluate. Both ways
//! make the same document, byte for byte. The unique indexes let only one of them make it.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use mongodb::bson::{RawDocumentBuf, doc, raw::cstr};

use super::{
    command::{self, Kind},
    connection::{SERVER_TIME, Store},
    error::{Failure, StoreError, Unstorable},
    fields::{self, Scope},
    of_call,
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
    command::run(store, Kind::Insert, patches.iter().map(|patch| document(patch))).await
}

/// The document of a call of which nothing but `patch` is known.
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
