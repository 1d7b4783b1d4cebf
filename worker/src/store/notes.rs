//! Notes on calls and marks of reviewed calls: the collection `call_notes`.
//!
//! A note is kept outside of the document of its call, so that it takes no part in the join of events. It is found by
//! the ids of its call from outside. Documents of one call that are merged keep these ids, so the note stays with the
//! call. A call can have several documents of notes, if each of its documents had one before a merge.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection, IndexModel,
    bson::{Bson, Document, doc},
    error::Result as DriverResult,
};

use super::{
    connection::{SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
};
use crate::domain::{
    audit::{Login, Person},
    note::{CallNotes, Note, NoteText, Review},
};

const COLLECTION: &str = "call_notes";
/// The fields of a call that [`NotedCall::read`] reads.
const CALL_FIELDS: [&str; 6] =
    ["callId", "sharedCallId", "conversationId", "_placementId", "_storedAt", "createdAt"];
/// Most documents that are read for one call.
const MAX_DOCUMENTS: i64 = 100;

/// A call on which a note can be written.
#[derive(Clone, Debug)]
pub struct NotedCall {
    ids: Vec<String>,
    /// When the call was stored. `RETENTION_DAYS` counts from this time for the note, too.
    stored_at: Timestamp,
}

/// What became of a note that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteWrite {
    /// It is stored, or the notes are removed.
    Written,
    /// There was nothing to remove.
    Unchanged,
    /// The notes have changed since the writer read them. Nothing is stored.
    Conflict,
}

impl NotedCall {
    /// Reads a document with [`call_fields`]. `None`: the call has no id by which a note could be found.
    pub(super) fn read(call: &Document) -> Option<Self> {
        let ids = note_ids(call);
        let stored_at = date(call, "_storedAt").or_else(|| date(call, "createdAt"))?;
        (!ids.is_empty()).then_some(Self { ids, stored_at })
    }
}

/// The projection for a [`NotedCall`].
pub(super) fn call_fields() -> Document {
    CALL_FIELDS.iter().map(|field| ((*field).to_owned(), Bson::from(1))).collect()
}

/// The ids by which the notes of `call` are found. All conversations of one telephone call share its notes.
pub(super) fn note_ids(call: &Document) -> Vec<String> {
    let id = |field: &str| call.get_str(field).ok();
    let ids = [
        ("call", id("callId").or(id("sharedCallId"))),
        ("conversation", id("conversationId")),
        ("placement", id("_placementId")),
    ];
    ids.into_iter().filter_map(|(kind, id)| Some(format!("{kind}:{}", id?))).collect()
}

impl Store {
    pub(super) fn notes_collection(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }

    /// Creates the indexes of the collection. Idempotent.
    pub(super) async fn prepare_notes(&self) -> Result<(), StoreError> {
        let notes = self.notes_collection();
        let index = |field: &str| IndexModel::builder().keys(doc! { field: 1 }).build();
        let indexes = [index("ids"), index("storedAt")];
        self.run(async move { notes.create_indexes(indexes).await }).await.map(drop)
    }

    /// Replaces all notes on `call` by `text`. An empty text removes them. `seen`: the time of the latest note that the
    /// writer knows.
    pub async fn write_note(
        &self,
        call: &NotedCall,
        text: &NoteText,
        by: &Person,
        seen: Option<Timestamp>,
    ) -> Result<NoteWrite, StoreError> {
        let (collection, call, by) = (self.notes_collection(), call.clone(), by.clone());
        let (text, now) = (text.as_str().to_owned(), Timestamp::now());
        self.run(async move {
            let documents = of_ids(&collection, &call.ids).await?;
            let present = read(&documents).latest();
            if present.map(Timestamp::as_millisecond) != seen.map(Timestamp::as_millisecond) {
                return Ok(NoteWrite::Conflict);
            }
            if present.is_none() && text.is_empty() {
                return Ok(NoteWrite::Unchanged);
            }
            // The note of the first document has to be as it was read, so nobody has written meanwhile.
            let known =
                documents.first().and_then(|first| first.get_document("note").ok()?.get("at").cloned());
            let id = match documents.first() {
                Some(first) => first.get("_id").cloned(),
                None => create(&collection, &call).await?,
            };
            let note =
                doc! { "text": &text, "by": by.name, "login": by.login.as_str(), "at": bson_date(now) };
            let change = if text.is_empty() { "$unset" } else { "$set" };
            let change = doc! { change: { "note": note }, "$addToSet": { "ids": { "$each": &call.ids } } };
            let written = collection.update_one(doc! { "_id": &id, "note.at": known }, change).await?;
            if written.matched_count == 0 {
                return Ok(NoteWrite::Conflict);
            }
            let mut filter = of_call(&call);
            filter.insert("_id", doc! { "$ne": id });
            collection.update_many(filter, doc! { "$unset": { "note": "" } }).await?;
            Ok(NoteWrite::Written)
        })
        .await
    }

    /// Marks `call` as reviewed.
    pub async fn mark_reviewed(&self, call: &NotedCall, by: &Person) -> Result<(), StoreError> {
        let (collection, call, by) = (self.notes_collection(), call.clone(), by.clone());
        let now = Timestamp::now();
        self.run(async move {
            let review = doc! { "by": by.name, "login": by.login.as_str(), "at": bson_date(now) };
            let id = match of_ids(&collection, &call.ids).await?.first() {
                Some(first) => first.get("_id").cloned(),
                None => create(&collection, &call).await?,
            };
            let change =
                doc! { "$set": { "review": review }, "$addToSet": { "ids": { "$each": &call.ids } } };
            collection.update_one(doc! { "_id": id }, change).await.map(drop)
        })
        .await
    }

    /// Removes the mark of `call`. Returns whether it had one.
    pub async fn unmark_reviewed(&self, call: &NotedCall) -> Result<bool, StoreError> {
        let (collection, filter) = (self.notes_collection(), of_call(call));
        let removed = self
            .run(async move { collection.update_many(filter, doc! { "$unset": { "review": "" } }).await })
            .await?;
        Ok(removed.modified_count > 0)
    }

    /// Erases the notes of calls with these [`note_ids`].
    pub(super) async fn erase_notes(&self, ids: &[String]) -> Result<(), StoreError> {
        let (collection, filter) = (self.notes_collection(), doc! { "ids": { "$in": ids } });
        self.run(async move { collection.delete_many(filter).await }).await.map(drop)
    }

    /// The [`note_ids`] of the calls that `filter` matches.
    pub(super) async fn note_ids_of(&self, filter: Document) -> Result<Vec<String>, StoreError> {
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                calls.find(filter).projection(call_fields()).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        Ok(found.iter().flat_map(note_ids).collect())
    }

    /// Erases the notes on calls that were stored before `cutoff`, and returns their number.
    pub async fn erase_old_notes(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        let (collection, filter) =
            (self.notes_collection(), doc! { "storedAt": { "$lt": bson_date(cutoff) } });
        Ok(self.run(async move { collection.delete_many(filter).await }).await?.deleted_count)
    }
}

fn of_call(call: &NotedCall) -> Document {
    doc! { "ids": { "$in": &call.ids } }
}

/// Makes a document of notes for `call`, and returns its `_id`. If another request does so at the same time, both get the
/// same one.
async fn create(collection: &Collection<Document>, call: &NotedCall) -> DriverResult<Option<Bson>> {
    let id = call.ids.first().map(Bson::from);
    let new = doc! { "$setOnInsert": { "ids": &call.ids, "storedAt": bson_date(call.stored_at) } };
    collection.update_one(doc! { "_id": &id }, new).upsert(true).await?;
    Ok(id)
}

/// The documents of notes with one of these [`note_ids`], always in the same order.
pub(super) async fn of_ids(collection: &Collection<Document>, ids: &[String]) -> DriverResult<Vec<Document>> {
    let found = collection.find(doc! { "ids": { "$in": ids } }).sort(doc! { "_id": 1 }).limit(MAX_DOCUMENTS);
    found.max_time(SERVER_TIME).await?.try_collect().await
}

/// All ids of the documents that have one of `ids` and a mark.
pub(super) async fn reviewed_ids(
    collection: Collection<Document>,
    ids: Vec<String>,
) -> DriverResult<Vec<String>> {
    let filter = doc! { "ids": { "$in": ids }, "review": { "$exists": true } };
    let found = collection.find(filter).projection(doc! { "ids": 1 }).max_time(SERVER_TIME);
    let found: Vec<Document> = found.await?.try_collect().await?;
    let texts = found.iter().filter_map(|document| document.get_array("ids").ok()).flatten();
    Ok(texts.filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

/// What the documents of notes of one call say.
pub(super) fn read(documents: &[Document]) -> CallNotes {
    let person = |part: &Document| {
        let login = part.get_str("login").ok().and_then(Login::parse)?;
        Some(Person { name: part.get_str("by").ok()?.to_owned(), login })
    };
    let mut notes: Vec<_> = documents
        .iter()
        .filter_map(|document| {
            let note = document.get_document("note").ok()?;
            Some(Note {
                text: note.get_str("text").ok()?.to_owned(),
                by: person(note)?,
                at: date(note, "at")?,
            })
        })
        .collect();
    notes.sort_by_key(|note| note.at);
    let reviews = documents.iter().filter_map(|document| {
        let review = document.get_document("review").ok()?;
        Some(Review { by: person(review)?, at: date(review, "at")? })
    });
    CallNotes { notes, review: reviews.max_by_key(|review| review.at) }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;

    #[test]
    fn the_conversations_of_a_call_share_its_notes() {
        #[rustfmt::skip]
        let table = [
            (doc! { "callId": "CA1" },                                               vec!["call:CA1"]),
            (doc! { "sharedCallId": "CA1", "conversationId": "c1" },                 vec!["call:CA1", "conversation:c1"]),
            (doc! { "callId": "CA1", "conversationId": "c1", "_placementId": "p" },  vec!["call:CA1", "conversation:c1", "placement:p"]),
            (doc! { "toNumber": "1" },                                               vec![]),
        ];
        for (call, ids) in table {
            assert_eq!(note_ids(&call), ids, "{call}");
        }
    }

    #[test]
    fn notes_of_merged_documents_are_all_read() {
        let at = |second: i64| DateTime::from_millis(second * 1000);
        let note =
            |text: &str, second| doc! { "text": text, "by": "ana", "login": "proxy", "at": at(second) };
        let review = |by: &str, second| doc! { "by": by, "login": "shared", "at": at(second) };
        let found = read(&[
            doc! { "note": note("second", 2), "review": review("ana", 1) },
            doc! { "review": review("ben", 3) },
            doc! { "note": note("first", 1) },
            doc! { "note": "nonsense" },
        ]);
        assert_eq!(found.text(), "first\n\nsecond");
        assert_eq!(found.latest(), Timestamp::from_second(2).ok());
        assert_eq!(found.review.unwrap().by.name, "ben");
    }
}
