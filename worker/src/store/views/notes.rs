//! Notes on calls and marks of reviewed calls, for the pages of the console.

use mongodb::bson::Document;

use super::{
    connection::{SERVER_TIME, Views},
    detail::filters,
    row::CallRow,
};
use crate::{
    domain::note::CallNotes,
    store::{
        error::StoreError,
        notes::{self, NotedCall},
    },
};

impl Views {
    /// The call that `name` identifies, for writing a note on it. `None`: there is no such call, or it has no id yet.
    pub async fn noted_call(&self, name: &str) -> Result<Option<NotedCall>, StoreError> {
        for filter in filters(name) {
            let calls = self.store.calls.clone();
            let found = self.ask(async move {
                calls.find_one(filter).projection(notes::call_fields()).max_time(SERVER_TIME).await
            });
            if let Some(call) = found.await? {
                return Ok(NotedCall::read(&call));
            }
        }
        Ok(None)
    }

    /// What people wrote about the call of `row`.
    pub async fn notes(&self, row: &CallRow) -> Result<CallNotes, StoreError> {
        let (collection, ids) = (self.store.notes_collection(), row.note_ids.clone());
        let found: Vec<Document> = self.ask(async move { notes::of_ids(&collection, &ids).await }).await?;
        Ok(notes::read(&found))
    }

    /// Marks the rows of reviewed calls. One query for all rows. Without its answer, the rows have no marks.
    pub(super) async fn mark_reviewed(&self, mut rows: Vec<CallRow>) -> Vec<CallRow> {
        let ids: Vec<_> = rows.iter().flat_map(|row| row.note_ids.clone()).collect();
        if ids.is_empty() {
            return rows;
        }
        match self.ask(notes::reviewed_ids(self.store.notes_collection(), ids)).await {
            Ok(reviewed) => {
                for row in &mut rows {
                    row.is_reviewed = row.note_ids.iter().any(|id| reviewed.contains(id));
                }
            }
            Err(error) => tracing::debug!(%error, "a list of calls is shown without marks"),
        }
        rows
    }
}
