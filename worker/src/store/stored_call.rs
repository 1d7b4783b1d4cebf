//! A stored call, as far as a change depends on it, and the query that reads it.
//!
//! The values of [`Field`] are not read, because they may be large. The time and the event id that are stored with each
//! value decide whether another value replaces it.

use std::collections::{HashMap, HashSet};

use futures_util::{TryStreamExt as _, future::try_join_all};
use mongodb::{
    bson::{Document, RawDocumentBuf, doc, oid::ObjectId},
    options::ReadConcern,
};

use super::{
    call_part,
    call_view::CallView,
    connection::{SERVER_TIME, Store},
    error::StoreError,
    fields::{self, Payloads, UnknownClaims},
    key::Key,
};
use crate::domain::{
    call::{CallPatch, Field},
    event::CallId,
};

/// A stored call, as far as a change depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredCall {
    /// The `_id` of its document.
    pub id: ObjectId,
    /// Its revision. `None`: a worker of an earlier version wrote it.
    pub revision: Option<i64>,
    /// Its fields. The values of [`Field`] are null.
    pub call: CallPatch,
    /// The id of the telephone call, if the call has other documents.
    pub shared_call_id: Option<CallId>,
    /// The claims that this version does not understand.
    pub unknown: UnknownClaims,
    /// The unique ids of its document. The document has no call id of its own if another document of the call has it.
    pub keys: Vec<Key>,
}

impl StoredCall {
    /// `None` for a document that lacks a field which an update compares. A transaction changes it, or refuses to.
    fn of(call: &CallView) -> Option<Self> {
        let patch = call.to_patch(Payloads::Excluded)?;
        let events = call.document().get_array("history").ok()?;
        if events.len() != patch.history.len() {
            return None;
        }
        Some(Self {
            id: call.object_id()?,
            revision: call.revision(),
            call: patch,
            shared_call_id: call.shared_call_id(),
            unknown: UnknownClaims::read(call.document()),
            keys: call.keys(),
        })
    }

    /// Whether `patch` changes this document and no other one of its call. The ids of the patch name this document alone.
    pub(super) fn is_changed_alone_by(&self, patch: &CallPatch) -> bool {
        // An event that names only the call changes every document of the call.
        let concerns_others =
            self.shared_call_id.is_some() && (!patch.is_linked() || patch.call_part.is_some());
        !concerns_others && self.call.is_of_same_call(patch)
    }
}

/// See [`super::Calls::read`].
pub(super) async fn read(store: &Store, keys: &[Key]) -> Result<Vec<StoredCall>, StoreError> {
    let mut by_field: HashMap<&str, Vec<&str>> = HashMap::new();
    for key in keys {
        by_field.entry(key.field().as_str()).or_default().push(key.id());
    }
    let finds = by_field.into_iter().map(|(field, ids)| {
        // A document is made from raw bytes faster than by the deserializer of the driver.
        let (calls, filter) =
            (store.calls.clone_with_type::<RawDocumentBuf>(), doc! { field: { "$in": ids } });
        store.run(async move {
            // The update compares the document with what was read here. So this may be the latest state, durable or not.
            let found = calls.find(filter).projection(projection()).read_concern(ReadConcern::local());
            found.max_time(SERVER_TIME).await?.try_collect::<Vec<_>>().await
        })
    });
    let found = try_join_all(finds).await?.into_iter().flatten();
    let mut ids = HashSet::new();
    let calls = found.filter_map(|document| StoredCall::of(&CallView::new(document.try_into().ok()?)));
    Ok(calls.filter(|call| ids.insert(call.id)).collect())
}

/// All fields but the values of [`Field`] and the request of a placement, which no event changes.
fn projection() -> Document {
    let names = Field::ALL.into_iter().map(Field::name);
    names
        .flat_map(|name| [name.to_owned(), format!("{}.{name}", call_part::NAME)])
        .chain([fields::REQUEST.to_string()])
        .map(|name| (name, 0.into()))
        .collect()
}
