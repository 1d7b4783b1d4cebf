//! Recordings in `GridFS`: bucket `recordings`, one file an audio event, named by the event's id.
//!
//! A file is there whole or not at all: its entry is written after its chunks.

use futures_util::AsyncWriteExt as _;
use mongodb::{
    Database,
    bson::{Bson, doc},
    error::Result,
    gridfs::GridFsBucket,
    options::GridFsBucketOptions,
};

use super::{Store, StoreError};
use crate::event::Recording;

const BUCKET: &str = "recordings";

/// See [`super::Calls::save_recording`].
pub(super) async fn store(
    store: &Store,
    id: &str,
    recording: &Recording,
) -> std::result::Result<(), StoreError> {
    let bucket = bucket(&store.database);
    let (id, recording) = (id.to_owned(), recording.clone());
    store.run(async move { save(&bucket, id, &recording).await }).await
}

pub(super) fn bucket(database: &Database) -> GridFsBucket {
    database.gridfs_bucket(GridFsBucketOptions::builder().bucket_name(BUCKET.to_owned()).build())
}

async fn save(bucket: &GridFsBucket, id: String, recording: &Recording) -> Result<()> {
    if bucket.find_one(doc! { "_id": &id }).await?.is_some() {
        return Ok(());
    }
    // What an interrupted try left would collide with ours. That there is no file to delete is the
    // expected answer; anything worse shows in the next step.
    if let Err(error) = bucket.delete(Bson::String(id.clone())).await {
        tracing::trace!(%error, "no half-written recording");
    }
    let mut upload = bucket
        .open_upload_stream(format!("{id}.mp3"))
        .id(Bson::String(id))
        .metadata(doc! { "contentType": "audio/mpeg" })
        .await?;
    upload.write_all(&recording.0).await?;
    upload.close().await?;
    Ok(())
}
