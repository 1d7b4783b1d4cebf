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
/// Calls in one page of a scan.
const PAGE: i64 = 500;

impl Store {
    /// The position of the last published change. `None` before the first start.
    ///
    /// # Errors
    /// The database failed. A stored position that cannot be read counts as none.
    pub async fn deliver_position(&self) -> Result<Option<Position>, StoreError> {
        let state = self.deliver();
        let found = self.run(async move { state.find_one(doc! { "_id": "position" }).await }).await?;
        Ok(found.and_then(|found| {
            let token: ResumeToken = deserialize_from_bson(found.get("token")?.clone()).ok()?;
            Some(Position { token, time: date(&found, "time")? })
        }))
    }

    /// Stores the position of the last published change.
    pub async fn save_deliver_position(&self, position: &Position) -> Result<(), StoreError> {
        let token = serialize_to_bson(&position.token).map_err(Error::from)?;
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
        self.published(doc! { "_id": { "$in": ids } }, None).await
    }

    /// The next calls after `last`, in the order of `_id`, whose last change has at least `revision`. Empty at
    /// the end.
    pub async fn changed_since(
        &self,
        revision: i64,
        last: Option<ObjectId>,
    ) -> Result<Vec<CallView>, StoreError> {
        let mut filter = doc! { "revision": { "$gte": revision } };
        if let Some(last) = last {
            filter.insert("_id", doc! { "$gt": last });
        }
        self.published(filter, Some(PAGE)).await
    }

    async fn published(&self, filter: Document, page: Option<i64>) -> Result<Vec<CallView>, StoreError> {
        let calls = self.calls.clone();
        let found: Vec<Document> = self
            .run(async move {
                let mut found =
                    calls.find(filter).projection(projection(Include::NONE)).max_time(SERVER_TIME);
                if let Some(page) = page {
                    found = found.sort(doc! { "_id": 1 }).limit(page);
                }
                found.await?.try_collect().await
            })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }

    /// The ids of the calls with these `_id`s that were erased.
    pub async fn erased_calls(&self, ids: Vec<ObjectId>) -> Result<Vec<CallView>, StoreError> {
        self.erased(doc! { "_id": { "$in": ids } }).await
    }

    /// The ids of the calls that were erased at `revision` or later.
    pub async fn erased_since(&self, revision: i64) -> Result<Vec<CallView>, StoreError> {
        self.erased(doc! { "revision": { "$gte": revision } }).await
    }

    async fn erased(&self, filter: Document) -> Result<Vec<CallView>, StoreError> {
        let erased: Collection<Document> = self.database.collection(ERASED);
        let found: Vec<Document> = self
            .run(async move { erased.find(filter).max_time(SERVER_TIME).await?.try_collect().await })
            .await?;
        Ok(found.into_iter().map(CallView::new).collect())
    }

    fn deliver(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }
}
