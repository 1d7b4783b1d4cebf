//! Previews the changes of a patch without making them.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Document, doc};

use super::{
    call_view::CallView,
    changes,
    connection::{SERVER_TIME, Store},
    error::StoreError,
    fields::Payloads,
    key::Key,
    revision,
};
use crate::domain::call::{CallPatch, conversations};

/// The changes that a patch would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preview {
    /// Nothing.
    Unchanged,
    /// A document would be created.
    Created,
    /// Documents that belong to one call would be merged.
    Merged,
    /// These fields would change.
    Changed(Vec<Difference>),
}

/// A field that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the field.
    pub field: String,
    /// The values before and after. `None` if the field may hold personal data.
    pub values: Option<(String, String)>,
}

/// The fields that hold no personal data, so that their values may be shown.
const SHOWN: [&str; 4] = ["status", "transcriptState", "failureReason", "statusUpdatedAt"];

impl Store {
    /// The changes that [`super::apply()`] would make with `patch`.
    pub async fn preview(&self, patch: &CallPatch) -> Result<Preview, StoreError> {
        let mut filters: Vec<_> = Key::all_of(patch).map(|key| key.filter()).collect();
        if filters.is_empty() {
            return Ok(Preview::Unchanged);
        }
        filters.extend(patch.call_id.as_ref().map(|id| doc! { "sharedCallId": id.as_str() }));
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                calls.find(doc! { "$or": filters }).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        let found: Vec<_> = found.into_iter().map(CallView::new).collect();
        let Some(stored) =
            found.iter().map(|call| call.to_patch(Payloads::Included)).collect::<Option<Vec<_>>>()
        else {
            return Ok(Preview::Unchanged);
        };
        let known: Vec<_> = stored.iter().map(|call| patch.is_known_to(call)).collect();
        let joined = conversations::join(stored, patch.clone());
        if joined.documents.iter().any(|one| one.from.len() > 1) {
            return Ok(Preview::Merged);
        }
        if joined.documents.iter().any(|one| one.from.is_empty()) {
            return Ok(Preview::Created);
        }
        let changed = changes::changes(&found, &joined, &known, Timestamp::now());
        let changed = changed.unwrap_or_default();
        let differences: Vec<_> = changed
            .iter()
            .filter_map(|(before, after)| Some(differences((*before)?, after)))
            .flatten()
            .collect();
        Ok(if differences.is_empty() { Preview::Unchanged } else { Preview::Changed(differences) })
    }
}

fn differences(before: &Document, after: &Document) -> Vec<Difference> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(name)));
    names
        // Every change raises the revision.
        .filter(|name| before.get(name) != after.get(name) && *name != revision::NAME.as_str())
        .map(|name| Difference {
            field: name.clone(),
            values: SHOWN.contains(&name.as_str()).then(|| (text(before, name), text(after, name))),
        })
        .collect()
}

fn text(document: &Document, name: &str) -> String {
    document.get(name).map_or_else(
        || "absent".to_owned(),
        |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_fields_are_named_and_personal_values_are_hidden() {
        let before = doc! { "_id": 1, "status": "ringing", "toNumber": "+1", "same": 1 };
        assert_eq!(differences(&before, &before), []);
        let after =
            doc! { "_id": 1, "status": "ended", "toNumber": "+2", "same": 1, "transcriptState": "owed" };
        let shown = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
        let difference = |field: &str, values| Difference { field: field.to_owned(), values };
        assert_eq!(
            differences(&before, &after),
            [
                difference("status", shown("ringing", "ended")),
                difference("toNumber", None),
                difference("transcriptState", shown("absent", "owed")),
            ]
        );
    }
}
