//! Which calls change, as they change.

use std::time::Duration;

use mongodb::{
    bson::{Document, doc, oid::ObjectId},
    change_stream::{
        ChangeStream,
        event::{ChangeStreamEvent, OperationType},
    },
};

use super::Views;
use crate::store::StoreError;

/// Longest the server waits for a change before it says that there is none.
const AWAIT: Duration = Duration::from_millis(500);

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Saved(ObjectId),
    /// It is gone: erased, or joined with its other half.
    Gone(ObjectId),
}

/// The changes of all calls from now on. One stream, however many look at it.
pub struct Changes(ChangeStream<ChangeStreamEvent<Document>>);

impl Views {
    /// Begins to watch.
    pub async fn watch(&self) -> Result<Changes, StoreError> {
        let calls = self.store.calls.clone();
        let opened = self.store.run(async move {
            // Only which document it was: what is in it is read by its lines, many at a time.
            let stages = [
                doc! { "$match": { "operationType": { "$in": ["insert", "update", "replace", "delete"] } } },
                doc! { "$project": { "operationType": 1, "documentKey": 1 } },
            ];
            calls.watch().pipeline(stages).max_await_time(AWAIT).await
        });
        Ok(Changes(opened.await?))
    }
}

impl Changes {
    /// The next change, or none within half a second. Must not be dropped half-way.
    pub async fn next(&mut self) -> Result<Option<Change>, StoreError> {
        let Some(event) = self.0.next_if_any().await? else {
            if self.0.is_alive() {
                return Ok(None);
            }
            return Err(StoreError::Unavailable("the change stream has ended".to_owned()));
        };
        let key = event.document_key.and_then(|key| key.get_object_id("_id").ok());
        Ok(key.map(|id| match event.operation_type {
            OperationType::Delete => Change::Gone(id),
            _ => Change::Saved(id),
        }))
    }
}
