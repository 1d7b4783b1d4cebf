//! Recordings that the worker fetches from ElevenLabs.
//!
//! A fetched recording has a file of its own, `fetched-` and the conversation id. A recording that a webhook brings
//! prevails: the document then names its file, and the fetched file is erased.

use std::time::Duration;

use futures_util::AsyncWriteExt as _;
use jiff::Timestamp;
use mongodb::{
    bson::{Bson, DateTime, doc},
    gridfs::GridFsUploadStream,
};

use super::{
    connection::Store,
    convert::bson_date,
    erase::erase_file,
    error::StoreError,
    files::{self, RECORDINGS},
    revision,
};
use crate::domain::{event::ConversationId, time::after};

/// The state of a recording that the worker is to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingState {
    /// The worker tries to fetch it.
    Pending,
    /// It is stored.
    Saved,
    /// The worker gave up, for this reason.
    Unavailable(String),
}

/// The id of the file with the recording that the worker fetched for a conversation.
pub fn fetched_recording(conversation: &ConversationId) -> String {
    format!("fetched-{}", conversation.as_str())
}

/// A recording that is being written. If it is dropped, the file does not exist, and the driver erases its chunks.
pub struct RecordingUpload {
    store: Store,
    stream: GridFsUploadStream,
}

impl RecordingUpload {
    /// Appends `bytes`.
    pub async fn write(self, bytes: bytes::Bytes) -> Result<Self, StoreError> {
        let Self { store, mut stream } = self;
        let stream = store.run(async move {
            stream.write_all(&bytes).await?;
            Ok(stream)
        });
        let stream = stream.await?;
        Ok(Self { store, stream })
    }

    /// Completes the file.
    pub async fn finish(self) -> Result<(), StoreError> {
        let Self { store, mut stream } = self;
        store.run(async move { Ok(stream.close().await?) }).await
    }
}

impl Store {
    /// The size in bytes of the recording `file`. `None` if there is no such file.
    pub async fn recording_size(&self, file: &str) -> Result<Option<u64>, StoreError> {
        let (bucket, filter) = (files::bucket(&self.database, RECORDINGS), doc! { "_id": file });
        let found = self.run(async move { bucket.find_one(filter).await }).await?;
        Ok(found.map(|found| found.length))
    }

    /// Takes or extends the right to write the recording of a conversation, until `time` from `now`. Returns whether
    /// `writer` has it. Two writers would remove each other's pieces.
    pub async fn claim_recording(
        &self,
        conversation: &ConversationId,
        writer: &str,
        now: Timestamp,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "conversationId": conversation.as_str(), "$or": [
            { "_recordingWriter": { "$exists": false } },
            { "_recordingWriter.id": writer },
            { "_recordingWriter.until": { "$lt": bson_date(now) } },
        ] };
        let claim =
            doc! { "$set": { "_recordingWriter": { "id": writer, "until": bson_date(after(now, time)) } } };
        let calls = self.calls.clone();
        let updated = self.run(async move { calls.update_one(filter, claim).await }).await?;
        Ok(updated.matched_count > 0)
    }

    /// Returns the right that `writer` has.
    pub async fn release_recording(
        &self,
        conversation: &ConversationId,
        writer: &str,
    ) -> Result<(), StoreError> {
        let filter = doc! { "conversationId": conversation.as_str(), "_recordingWriter.id": writer };
        let (calls, release) = (self.calls.clone(), doc! { "$unset": { "_recordingWriter": "" } });
        self.run(async move { calls.update_one(filter, release).await }).await.map(drop)
    }

    /// Begins to write the recording `file`, which does not exist.
    pub async fn begin_recording(&self, file: &str) -> Result<RecordingUpload, StoreError> {
        let (bucket, file) = (files::bucket(&self.database, RECORDINGS), file.to_owned());
        let opened = self.run(async move { files::open_upload(&bucket, file, "mp3", "audio/mpeg").await });
        let stream = opened.await?;
        Ok(RecordingUpload { store: self.clone(), stream })
    }

    /// Makes the document of the conversation name the recording `file`. Returns `false` if there is no such
    /// document, or if it names a recording already.
    pub async fn name_recording(
        &self,
        conversation: &ConversationId,
        file: &str,
        bytes: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let filter = doc! { "conversationId": conversation.as_str(), "audio.fileId": { "$exists": false } };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let fields = doc! {
            "audio": { "$literal": { "fileId": file, "bytes": bytes, "contentType": "audio/mpeg" } },
            // Earlier than every event, so that the recording of a webhook prevails.
            "_audio": { "$literal": { "at": DateTime::from_millis(0), "eventId": file } },
            "recordingState": "saved",
        };
        let touched = doc! { "$set": { "updatedAt": { "$max": ["$updatedAt", bson_date(now)] } } };
        let update = vec![
            doc! { "$set": fields },
            doc! { "$unset": "_recordingError" },
            touched,
            revision::stage(now),
        ];
        let calls = self.calls.clone();
        let updated = self.run(async move { calls.update_one(filter, update).await }).await?;
        Ok(updated.matched_count > 0)
    }

    /// Stores the state of the recording, if the document of the conversation still exists.
    pub async fn set_recording_state(
        &self,
        conversation: &ConversationId,
        state: RecordingState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A webhook, or another job, may have brought the recording meanwhile.
        let (at, mut filter) = (bson_date(now), doc! { "conversationId": conversation.as_str() });
        let mut update = match state {
            RecordingState::Pending => {
                filter.insert("recordingState", doc! { "$ne": "owed" }); // Otherwise nothing changes.
                filter.insert("audio.fileId", doc! { "$exists": false });
                // The time of the first attempt stays.
                let since = doc! { "$min": ["$_recordingSince", at] };
                vec![doc! { "$set": { "recordingState": "owed", "_recordingSince": since } }]
            }
            RecordingState::Saved => {
                vec![doc! { "$set": { "recordingState": "saved" } }, doc! { "$unset": "_recordingError" }]
            }
            RecordingState::Unavailable(reason) => {
                filter.insert("audio.fileId", doc! { "$exists": false });
                vec![doc! { "$set": {
                    "recordingState": "unavailable", "_recordingError": { "$literal": reason },
                    "updatedAt": { "$max": ["$updatedAt", at] },
                } }]
            }
        };
        update.push(revision::stage(now));
        let calls = self.calls.clone();
        self.run(async move { calls.update_one(filter, update).await }).await.map(drop)
    }

    /// Erases the recording `file`, if it exists.
    pub async fn erase_recording(&self, file: &str) -> Result<(), StoreError> {
        let (bucket, file) = (files::bucket(&self.database, RECORDINGS), Bson::String(file.to_owned()));
        self.run(erase_file(bucket, file)).await.map(drop)
    }
}
