//! Reads recordings in pieces. A player fetches only the range that it plays. Files with turns of transcripts have the same
//! form.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use mongodb::bson::{Document, doc};

use super::connection::{SERVER_TIME, Views};
use crate::store::{convert::whole_number, error::StoreError};

/// The two collections of each bucket, by the specification of `GridFS`.
const RECORDINGS: Bucket = Bucket { files: "recordings.files", chunks: "recordings.chunks" };
const TRANSCRIPTS: Bucket = Bucket { files: "transcripts.files", chunks: "transcripts.chunks" };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    files: &'static str,
    chunks: &'static str,
}

/// Most bytes of a piece of a recording. About three times as much is in memory for a viewer.
const PIECE_BYTES: u64 = 1 << 20;

/// The entry of a stored file: a recording, or the turns of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFile {
    /// Id of the file.
    pub id: String,
    /// Size in bytes.
    pub length: u64,
    chunk_size: u64,
    bucket: Bucket,
}

/// The chunks of a recording that hold a range of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Bytes of the first chunk that come before the range.
    pub(super) skip: u64,
    /// Length of the range in bytes.
    pub(super) take: u64,
}

impl AudioFile {
    /// The chunks with the bytes `from` to `to`, both included. Both must be within the file.
    pub(super) fn chunks(&self, from: u64, to: u64) -> Chunks {
        Chunks {
            first: from / self.chunk_size,
            last: to / self.chunk_size,
            skip: from % self.chunk_size,
            take: to + 1 - from,
        }
    }

    /// The collection with the chunks of the file.
    pub(super) fn chunks_collection(&self) -> &'static str {
        self.bucket.chunks
    }
}

impl Views {
    /// The entry of the recording `id`.
    pub async fn audio(&self, id: &str) -> Result<Option<AudioFile>, StoreError> {
        self.file(RECORDINGS, id).await
    }

    /// The entry of the file `id`, which holds turns of a transcript.
    pub(super) async fn transcript_file(&self, id: &str) -> Result<Option<AudioFile>, StoreError> {
        self.file(TRANSCRIPTS, id).await
    }

    async fn file(&self, bucket: Bucket, id: &str) -> Result<Option<AudioFile>, StoreError> {
        let files = self.store.database.collection::<Document>(bucket.files);
        let (filter, id) = (doc! { "_id": id }, id.to_owned());
        let found = self.ask(async move { files.find_one(filter).max_time(SERVER_TIME).await }).await?;
        Ok(found.and_then(|file| {
            let chunk_size = whole_number(&file, "chunkSize").filter(|size| *size > 0)?;
            Some(AudioFile { id, length: whole_number(&file, "length")?, chunk_size, bucket })
        }))
    }

    /// The bytes `from` to `to` of `file`, both included, read in pieces.
    ///
    /// # Errors
    /// The first piece cannot be read. An error of a later piece ends the stream.
    pub async fn audio_bytes(
        &self,
        file: &AudioFile,
        from: u64,
        to: u64,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send + use<>, StoreError> {
        let (views, file) = (self.clone(), file.clone());
        let read = move |at: u64| {
            let (views, file) = (views.clone(), file.clone());
            async move { views.file_bytes(&file, at, (at + PIECE_BYTES).min(to + 1)).await }
        };
        let first = read(from).await?;
        let rest = stream::try_unfold(from + first.len() as u64, move |at| {
            let piece = (at <= to).then(|| read(at));
            async move {
                let Some(piece) = piece else { return Ok(None) };
                let piece = piece.await?;
                let next = at + piece.len() as u64;
                Ok(Some((piece, next)))
            }
        });
        Ok(stream::once(future::ready(Ok(first))).chain(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_from_the_chunks_that_hold_it() {
        let file = AudioFile { id: "a".to_owned(), length: 25, chunk_size: 10, bucket: RECORDINGS };
        #[rustfmt::skip]
        let table = [
            ((0, 24),  Chunks { first: 0, last: 2, skip: 0, take: 25 }),
            ((0, 9),   Chunks { first: 0, last: 0, skip: 0, take: 10 }),
            ((9, 10),  Chunks { first: 0, last: 1, skip: 9, take: 2 }),
            ((20, 24), Chunks { first: 2, last: 2, skip: 0, take: 5 }),
        ];
        for ((from, to), chunks) in table {
            assert_eq!(file.chunks(from, to), chunks, "{from}-{to}");
        }
    }
}
