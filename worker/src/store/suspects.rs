//! Records of webhooks that may have ended a worker process: the collection `suspect_webhooks`.
//!
//! A record exists while a worker processes such a webhook. If a record remains, the process ended during the
//! attempt.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{DateTime, Document, doc},
};

use super::{
    connection::{SERVER_TIME, Store},
    error::StoreError,
};

const COLLECTION: &str = "suspect_webhooks";
/// Age of a record, in milliseconds, after which it is removed.
const MAX_AGE: i64 = 7 * 24 * 60 * 60 * 1000;

impl Store {
    fn suspects(&self) -> Collection<Document> {
        self.database.collection(COLLECTION)
    }

    /// For each of these webhooks, the number of unfinished attempts.
    pub(crate) async fn attempts(&self, ids: &[String]) -> Result<Vec<u32>, StoreError> {
        let (suspects, filter) = (self.suspects(), doc! { "_id": { "$in": ids } });
        let found: Vec<Document> = self
            .run(async move { suspects.find(filter).max_time(SERVER_TIME).await?.try_collect().await })
            .await?;
        let attempts = |record: &Document| {
            let attempts = record.get_i64("attempts").ok().and_then(|attempts| u32::try_from(attempts).ok());
            Some((record.get_str("_id").ok()?.to_owned(), attempts?))
        };
        let found: HashMap<_, _> = found.iter().filter_map(attempts).collect();
        Ok(ids.iter().map(|id| found.get(id).copied().unwrap_or(0)).collect())
    }

    /// Records that the attempt with this number begins for these webhooks.
    pub(crate) async fn begin_attempt(&self, ids: &[String], attempt: u32) -> Result<(), StoreError> {
        let set = doc! { "$max": { "attempts": i64::from(attempt) }, "$set": { "begunAt": DateTime::now() } };
        let update = |id: &String| doc! { "q": { "_id": id }, "u": set.clone(), "upsert": true };
        let command = doc! {
            "update": COLLECTION,
            "updates": ids.iter().map(update).collect::<Vec<_>>(),
            "ordered": false,
            "writeConcern": { "w": "majority", "j": true },
        };
        let database = self.database.clone();
        let answer = self.run(async move { database.run_command(command).await }).await?;
        if answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            return Err(StoreError::Unavailable("not every record was written".to_owned()));
        }
        Ok(())
    }

    /// Removes the records of these webhooks, and every record older than [`MAX_AGE`].
    pub(crate) async fn end_attempt(&self, ids: &[String]) -> Result<(), StoreError> {
        let before = DateTime::from_millis(DateTime::now().timestamp_millis() - MAX_AGE);
        let filter = doc! { "$or": [{ "_id": { "$in": ids } }, { "begunAt": { "$lt": before } }] };
        let suspects = self.suspects();
        self.run(async move { suspects.delete_many(filter).await }).await.map(drop)
    }
}
