//! The reads and writes of the role `deliver`: changed calls, and the position of the last published change.

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Document, deserialize_from_bson, doc, oid::ObjectId, serialize_to_bson},
    change_stream::event::ResumeToken,
    error::Error,
};

use super::{
    answer::{Include, projection},
    call_view::CallView,
    change_stream::Position,
    connection::{ERASED, SERVER_TIME, Store},
    convert::{bson_date, date},
    error::StoreError,
};

/// The collection with one document: the position of the last published change.
const COLLECTION: &str = "deliver";

/// The documents that a scan examines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The stored calls.
    Calls,
    /// The ids of erased calls.
    Erased,
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The documents whose last change has at least the wanted revision.
    pub changed: Vec<ObjectId>,
    /// The document after which the next page begins. `None`: this is the last page.
    pub next: Option<ObjectId>,
}

impl Store {
    /// The position of the last published change. `None` before the first start.
    ///
    /// # Errors
    /// The database failed.
    pub async fn deliver_position(&self) -> Result<Option<Position>, StoreError> {
        let state = self.deliver();
        let found = self.run(async move { state.find_one(doc! { "_id": "position" }).await }).await?;
        Ok(found.and_then(|found| {
            let token = found.get("token").cloned().map(deserialize_from_bson::<Option<ResumeToken>>);
            Some(Position { token: token.and_then(Result::ok).flatten(), time: date(&found, "time")? })
        }))
    }

    /// Stores the position of the last published change.
    pub async fn save_deliver_position(&self, position: &Position) -> Result<(), StoreError> {
        let token = serialize_to_bson(&position.token).map_err(Error::from)?; // Null without a token.
        let fields = doc! { "token": token, "time": bson_date(position.time) };
        let state = self.deliver();
        self.run(async move {
            state.update_one(doc! { "_id": "position" }, doc! { "$set": fields }).upsert(true).await
        })
        .await
        .map(drop)
    }

    /// The calls with these `_id`s, with the fields of outgoing events. Their order is not defined, and a call
    /// that is gone is missing.
    pub async fn calls_to_publish(&self, ids: Vec<ObjectId>) -> Result<Vec<CallView>, StoreError> {
        self.published(doc! { "_id": { "$in": ids } }).await
    }

    /// The next page of a scan of `scanned` after the document `last`.
    ///
    /// No index serves changes by their revision: it would cost every write, and a scan is rare. So a page examines
    /// `size` documents, and its time does not depend on how many of them changed.
    pub async fn scan(
        &self,
        scanned: Scanned,
        revision: i64,
        last: Option<ObjectId>,
        size: u32,
    ) -> Result<ScanPage, StoreError> {
        let documents: Collection<Document> = match scanned {
            Scanned::Calls => self.calls.clone(),
            Scanned::Erased => self.database.collection(ERASED),
        };
        // The smallest id leaves out documents whose `_id` is no `ObjectId`. No worker wrote them.
        let last = last.unwrap_or_else(|| ObjectId::from_bytes([0; 12]));
        let found: Vec<Document> = self
            .run(async move {
                let page = documents.find(doc! { "_id": { "$gt": last } }).sort(doc! { "_id": 1 });
                let page = page.limit(size.into()).projection(doc! { "revision": 1 }).max_time(SERVER_TIME);
                page.await?.try_collect().await
            })
            .await?;
        let id = |document: &Document| document.get_object_id("_id").ok();
        let is_changed = |document: &&Document| document.get_i64("revision").is_ok_and(|at| at >= revision);
        let changed = found.iter().filter(is_changed).filter_map(id).collect();
        let is_last = found.len() < size as usize;
        Ok(ScanPage { changed, next: found.last().and_then(id).filter(|_| !is_last) })
    }

    async fn published(&self, filter: Document) -> Result<Vec<CallView>, StoreError> {
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                let found = calls.find(filter).projection(projection(Include::NONE)).max_time(SERVER_TIME);
                found.await?.try_collect().await
            })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }

    /// The ids of the calls with these `_id`s that were erased.
    pub async fn erased_calls(&self, ids: Vec<ObjectId>) -> Result<Vec<CallView>, StoreError> {
        let erased: Collection<Document> = self.database.collection(ERASED);
        let filter = doc! { "_id": { "$in": ids } };
        let found: Vec<Document> = self
            .run(async move { erased.find(filter).max_time(SERVER_TIME).await?.try_collect().await })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }

    fn deliver(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }
}
