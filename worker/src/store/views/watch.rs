//! The stream of changes of calls.

use mongodb::{
    bson::{Document, doc, oid::ObjectId},
    change_stream::{
        ChangeStream,
        event::{ChangeStreamEvent, OperationType},
    },
};

use super::{connection::Views, plan::NUMBER_SUFFIXES};
use crate::store::{
    change_stream::{MAX_AWAIT, check_alive},
    error::StoreError,
};

/// A change of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The document was written.
    Saved(ObjectId),
    /// The document was deleted: the call was erased, or merged into another document.
    Gone(ObjectId),
}

/// The changes of all calls from now on.
pub struct Changes(ChangeStream<ChangeStreamEvent<Document>>);

impl Views {
    /// Opens the stream of changes.
    pub async fn watch(&self) -> Result<Changes, StoreError> {
        let calls = self.store.calls.clone();
        let opened = self.store.run(async move {
            // Only the id of the document: the caller reads the rows of many changed documents at once.
            let stages = [
                doc! { "$match": { "operationType": { "$in": ["insert", "update", "replace", "delete"] } } },
                doc! { "$match": { "$nor": [suffixes_added()] } },
                doc! { "$project": { "operationType": 1, "documentKey": 1 } },
            ];
            calls.watch().pipeline(stages).max_await_time(MAX_AWAIT).await
        });
        Ok(Changes(opened.await?))
    }
}

/// The addition of the last digits of numbers to a call of an earlier version: every other change of these digits raises
/// the revision.
fn suffixes_added() -> Document {
    doc! {
        format!("updateDescription.updatedFields.{NUMBER_SUFFIXES}"): { "$exists": true },
        "updateDescription.updatedFields.revision": { "$exists": false },
    }
}

impl Changes {
    /// The next change. `None` if nothing changes within half a second. The future must not be dropped before
    /// it is done.
    pub async fn next(&mut self) -> Result<Option<Change>, StoreError> {
        let Some(event) = self.0.next_if_any().await? else {
            check_alive(&self.0)?;
            return Ok(None);
        };
        let key = event.document_key.and_then(|key| key.get_object_id("_id").ok());
        Ok(key.map(|id| match event.operation_type {
            OperationType::Delete => Change::Gone(id),
            _ => Change::Saved(id),
        }))
    }
}
