//! Erasing calls and their files (recordings, large transcripts): of a person who asks for it, and of everybody after a while.

use futures_util::TryStreamExt as _;
use mongodb::{
    bson::{Bson, Document, doc, oid::ObjectId},
    gridfs::GridFsBucket,
};

use serde_json::Value;

use super::{
    SERVER_TIME, Store, StoreError,
    document::{bson_date, document_to_json},
    files,
};

/// Calls read at a time by who looks at all of them. Each may have 16 MiB.
const CALLS_READ: i64 = 32;

/// Everything that is stored of a call, as JSON.
pub fn content_of(call: &Document) -> Value {
    Value::Object(document_to_json(call))
}

impl Store {
    /// Whole calls in the order of their documents, those behind `last`.
    pub async fn calls_after(&self, last: Option<ObjectId>) -> Result<Vec<Document>, StoreError> {
        let calls = self.calls.clone();
        let filter = last.map_or_else(Document::new, |last| doc! { "_id": { "$gt": last } });
        self.run(async move {
            let found = calls.find(filter).sort(doc! { "_id": 1 }).limit(CALLS_READ).max_time(SERVER_TIME);
            found.await?.try_collect().await
        })
        .await
    }

    /// Calls there are, about.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let calls = self.calls.clone();
        self.run(async move { calls.estimated_document_count().max_time(SERVER_TIME).await }).await
    }

    /// What names the calls that `filter` matches.
    pub async fn calls_of(&self, filter: Document) -> Result<Vec<Document>, StoreError> {
        let calls = self.calls.clone();
        self.run(async move {
            let fields = doc! { "_id": 0, "callId": 1, "sharedCallId": 1, "conversationId": 1, "_placementId": 1, "audio": 1,
                "transcript.fileId": 1 };
            calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
        })
        .await
    }

    /// Erases the calls that `filter` matches; how many.
    pub async fn erase_calls(&self, filter: Document) -> Result<u64, StoreError> {
        let calls = self.calls.clone();
        let erased = self.run(async move { calls.delete_many(filter).await }).await?;
        Ok(erased.deleted_count)
    }

    /// How many of these events have a file.
    pub async fn count_recordings(&self, events: Vec<String>) -> Result<u64, StoreError> {
        let mut count = 0;
        for name in files::BUCKETS {
            let (bucket, filter) = (files::bucket(&self.database, name), doc! { "_id": { "$in": &events } });
            count += self.run(async move { found(&bucket, filter).await }).await?.len() as u64;
        }
        Ok(count)
    }

    /// Erases the files of these events; how many.
    pub async fn erase_recordings(&self, events: Vec<String>) -> Result<u64, StoreError> {
        self.erase_files(doc! { "_id": { "$in": events } }).await
    }

    /// Erases files stored before `then`; how many. Calls go by an index, which knows no files.
    pub async fn erase_old_recordings(&self, then: jiff::Timestamp) -> Result<u64, StoreError> {
        self.erase_files(doc! { "uploadDate": { "$lt": bson_date(then) } }).await
    }

    async fn erase_files(&self, filter: Document) -> Result<u64, StoreError> {
        let mut erased = 0;
        for name in files::BUCKETS {
            let bucket = files::bucket(&self.database, name);
            let files = self.run({
                let (bucket, filter) = (bucket.clone(), filter.clone());
                async move { found(&bucket, filter).await }
            });
            for file in files.await? {
                let bucket = bucket.clone();
                self.run(async move { bucket.delete(file).await }).await?;
                erased += 1;
            }
        }
        Ok(erased)
    }
}

async fn found(bucket: &GridFsBucket, filter: Document) -> mongodb::error::Result<Vec<Bson>> {
    bucket.find(filter).await?.map_ok(|file| file.id).try_collect().await
}
