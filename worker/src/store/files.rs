//! Files in `GridFS`: recordings and transcripts that are too large for a document.
//!
//! The bucket `recordings` has one file for each audio event, and for each recording
//! that the worker fetched. The bucket `transcripts` has one file for each
//! conversation whose turns are too large. The id of a file is the id of the event that brought it, or
//! `fetched-` and the conversation id.
//!
//! Invariant: a file is complete or missing, because its entry is written after its chunks.

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
use mongodb::{
    Database,
    bson::{Bson, doc},
    error::Result,
    gridfs::{GridFsBucket, GridFsUploadStream},
    options::GridFsBucketOptions,
};
use serde_json::Value;

use super::{connection::Store, error::StoreError};
use crate::domain::{call::Attachment, event::ConversationId};

/// Every bucket.
pub(super) const BUCKETS: [&str; 2] = [RECORDINGS, TRANSCRIPTS];
pub(super) const RECORDINGS: &str = "recordings";
const TRANSCRIPTS: &str = "transcripts";

/// The id of the file with the turns that the worker fetched for a conversation.
pub fn fetched_transcript(conversation: &ConversationId) -> String {
    format!("fetched-{}", conversation.as_str())
}

/// See [`super::Calls::save_file`].
pub(super) async fn store(store: &Store, id: &str, file: &Attachment) -> std::result::Result<(), StoreError> {
    let (name, extension, kind, bytes) = match file {
        Attachment::Recording(recording) => (RECORDINGS, "mp3", "audio/mpeg", recording.0.clone()),
        Attachment::Transcript(turns) => (TRANSCRIPTS, "json", "application/json", turns.clone()),
    };
    let (bucket, id) = (bucket(&store.database, name), id.to_owned());
    store.run(async move { save(&bucket, id, extension, kind, &bytes).await }).await
}

pub(super) fn bucket(database: &Database, name: &str) -> GridFsBucket {
    database.gridfs_bucket(GridFsBucketOptions::builder().bucket_name(name.to_owned()).build())
}

async fn save(bucket: &GridFsBucket, id: String, extension: &str, kind: &str, bytes: &[u8]) -> Result<()> {
    if bucket.find_one(doc! { "_id": &id }).await?.is_some() {
        return Ok(());
    }
    let mut upload = open_upload(bucket, id, extension, kind).await?;
    upload.write_all(bytes).await?;
    upload.close().await?;
    Ok(())
}

/// Opens the file `id`, which does not exist, for writing.
pub(super) async fn open_upload(
    bucket: &GridFsBucket,
    id: String,
    extension: &str,
    kind: &str,
) -> Result<GridFsUploadStream> {
    // An interrupted attempt may have left chunks, which would collide with the new chunks. Usually there is
    // no file to delete. A more serious error appears again in the next step.
    if let Err(error) = bucket.delete(Bson::String(id.clone())).await {
        tracing::trace!(%error, "no half-written file");
    }
    bucket
        .open_upload_stream(format!("{id}.{extension}"))
        .id(Bson::String(id))
        .metadata(doc! { "contentType": kind })
        .await
}

impl Store {
    /// The turns in the file `id`: at most `most`, from the position `skip` on. `None` if there is no such
    /// file.
    pub async fn transcript_turns(
        &self,
        id: &str,
        skip: usize,
        most: usize,
    ) -> std::result::Result<Option<Vec<Value>>, StoreError> {
        let (bucket, id) = (bucket(&self.database, TRANSCRIPTS), id.to_owned());
        let read = self.run(async move {
            if bucket.find_one(doc! { "_id": &id }).await?.is_none() {
                return Ok(None);
            }
            let (mut file, mut bytes) = (bucket.open_download_stream(Bson::String(id)).await?, Vec::new());
            file.read_to_end(&mut bytes).await?;
            Ok(Some(bytes))
        });
        let Some(bytes) = read.await? else { return Ok(None) };
        turns::read(&bytes, skip, most)
            .map(Some)
            .map_err(|_error| StoreError::Unavailable("a transcript is damaged".to_owned()))
    }
}

/// Reads a part of a JSON array, and skips the items before and after it.
mod turns {
    use std::fmt;

    use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
    use serde_json::Value;

    struct Part {
        skip: usize,
        most: usize,
    }

    impl<'de> Visitor<'de> for Part {
        type Value = Vec<Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of turns")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Value>, A::Error> {
            for _ in 0..self.skip {
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(Vec::new());
                }
            }
            let mut turns = Vec::new();
            while turns.len() < self.most {
                let Some(turn) = items.next_element()? else { return Ok(turns) };
                turns.push(turn);
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(turns)
        }
    }

    pub(super) fn read(bytes: &[u8], skip: usize, most: usize) -> serde_json::Result<Vec<Value>> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        json.deserialize_seq(Part { skip, most })
    }

    #[cfg(test)]
    mod tests {
        use serde_json::json;

        #[test]
        fn a_part_of_the_turns_is_read() {
            let bytes = br#"[{"n":0},{"n":1},{"n":2}]"#;
            #[rustfmt::skip]
            let table = [
                ((0, 9), vec![json!({ "n": 0 }), json!({ "n": 1 }), json!({ "n": 2 })]),
                ((1, 1), vec![json!({ "n": 1 })]),
                ((3, 1), vec![]),
                ((9, 1), vec![]),
            ];
            for ((skip, most), expected) in table {
                assert_eq!(super::read(bytes, skip, most).unwrap(), expected, "{skip} {most}");
            }
            assert!(super::read(b"{}", 0, 1).is_err());
        }
    }
}
