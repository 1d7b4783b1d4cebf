//! Erases calls and their files (recordings, large transcripts): on request of a person, and after the
//! retention time.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc, oid::ObjectId},
    error::{ErrorKind, GridFsErrorKind},
    gridfs::GridFsBucket,
};
use serde_json::Value;

use super::{
    connection::{ERASED, SERVER_TIME, Store},
    convert::{bson_date, document_to_json},
    error::StoreError,
    files, revision,
};

/// Calls in one page of all calls. Each may have 16 MiB.
const PAGE: i64 = 32;
/// Files whose ids are read at a time.
const FILES_PAGE: i64 = 1000;

/// The whole document of a call, as JSON.
pub fn content_of(call: &Document) -> Value {
    Value::Object(document_to_json(call))
}

impl Store {
    /// A page of whole calls in the order of their `_id`, after `last`.
    pub async fn calls_after(&self, last: Option<ObjectId>) -> Result<Vec<Document>, StoreError> {
        let calls = self.calls.clone();
        let filter = last.map_or_else(Document::new, |last| doc! { "_id": { "$gt": last } });
        self.run(async move {
            let found = calls.find(filter).sort(doc! { "_id": 1 }).limit(PAGE).max_time(SERVER_TIME);
            found.await?.try_collect().await
        })
        .await
    }

    /// The approximate number of calls.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let calls = self.calls.clone();
        self.run(async move { calls.estimated_document_count().max_time(SERVER_TIME).await }).await
    }

    /// The identifiers and file ids of the calls that `filter` matches.
    pub async fn calls_of(&self, filter: Document) -> Result<Vec<Document>, StoreError> {
        let calls = self.calls.clone();
        self.run(async move {
            let fields = doc! { "_id": 0, "callId": 1, "sharedCallId": 1, "conversationId": 1, "_placementId": 1, "audio": 1,
                "transcript.fileId": 1 };
            calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
        })
        .await
    }

    /// Erases the calls that `filter` matches with the notes on them, and returns their number. Their ids stay in `erased_calls` for
    /// a while, so that the role `deliver` publishes that they were erased.
    pub async fn erase_calls(&self, filter: Document) -> Result<u64, StoreError> {
        self.remember_ids(filter.clone()).await?;
        // Before the calls, so that a repetition after an interruption finds them again.
        let noted = self.note_ids_of(filter.clone()).await?;
        self.erase_notes(&noted).await?;
        let calls = self.calls.clone();
        let erased = self.run(async move { calls.delete_many(filter).await }).await?;
        self.erase_notes(&noted).await?; // Somebody may have written one meanwhile.
        Ok(erased.deleted_count)
    }

    async fn remember_ids(&self, filter: Document) -> Result<(), StoreError> {
        let (calls, now) = (self.calls.clone(), Timestamp::now());
        let erased: Collection<Document> = self.database.collection(ERASED);
        self.run(async move {
            let fields =
                doc! { "callId": 1, "sharedCallId": 1, "conversationId": 1, "_placementId": 1, "revision": 1 };
            let mut found = calls.find(filter).projection(fields).max_time(SERVER_TIME).await?;
            while let Some(mut ids) = found.try_next().await? {
                let revision = revision::next(revision::read(&ids), now);
                ids.extend(doc! { "revision": revision, "updatedAt": bson_date(now) });
                erased.replace_one(doc! { "_id": ids.get("_id") }, ids).upsert(true).await?;
            }
            Ok(())
        })
        .await
    }

    /// The number of files that these events have.
    pub async fn count_recordings(&self, events: Vec<String>) -> Result<u64, StoreError> {
        let mut count = 0;
        for name in files::BUCKETS {
            let files = self.database.collection::<Document>(&format!("{name}.files"));
            let filter = doc! { "_id": { "$in": &events } };
            count += self.run(async move { files.count_documents(filter).await }).await?;
        }
        Ok(count)
    }

    /// Erases the files of these events, and returns their number.
    pub async fn erase_recordings(&self, events: Vec<String>) -> Result<u64, StoreError> {
        self.erase_files(doc! { "_id": { "$in": events } }).await
    }

    /// Erases the files that were stored before `cutoff`, and returns their number. An index of MongoDB
    /// erases old calls, but it does not know their files.
    pub async fn erase_old_recordings(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        self.erase_files(doc! { "uploadDate": { "$lt": bson_date(cutoff) } }).await
    }

    /// Erases all files that `filter` matches, and returns their number. A file that MongoDB refuses to erase does not keep
    /// the others; the first such error is returned at the end.
    async fn erase_files(&self, filter: Document) -> Result<u64, StoreError> {
        let (mut erased, mut failed) = (0, None);
        for name in files::BUCKETS {
            let bucket = files::bucket(&self.database, name);
            let mut last = Bson::from(""); // All ids are texts.
            loop {
                let filter = doc! { "$and": [filter.clone(), { "_id": { "$gt": &last } }] };
                let page = self.run(found(bucket.clone(), filter)).await?;
                let Some(end) = page.last().cloned() else { break };
                last = end;
                for file in page {
                    match self.run(erase_file(bucket.clone(), file)).await {
                        Ok(is_erased) => erased += u64::from(is_erased),
                        Err(error @ StoreError::Unavailable(_)) => return Err(error),
                        Err(error) => drop(failed.get_or_insert(error)),
                    }
                }
            }
        }
        failed.map_or(Ok(erased), Err)
    }
}

/// The ids of the first files that `filter` matches.
async fn found(bucket: GridFsBucket, filter: Document) -> mongodb::error::Result<Vec<Bson>> {
    let found = bucket.find(filter).sort(doc! { "_id": 1 }).limit(FILES_PAGE);
    found.await?.map_ok(|file| file.id).try_collect().await
}

/// Erases a file. Returns false if it does not exist: another worker may erase it at the same time.
pub(super) async fn erase_file(bucket: GridFsBucket, file: Bson) -> mongodb::error::Result<bool> {
    match bucket.delete(file).await {
        Err(error) if is_file_not_found(&error) => Ok(false),
        erased => erased.map(|()| true),
    }
}

fn is_file_not_found(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::GridFs(GridFsErrorKind::FileNotFound { .. }))
}
