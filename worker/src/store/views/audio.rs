//! Recordings, read by the piece: what is played is what is fetched, from any place in it.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use mongodb::bson::{Bson, Document, doc, spec::BinarySubtype};

use super::Views;
use crate::store::StoreError;

/// The collections of the bucket `recordings`, as `GridFS` lays them out.
const FILES: &str = "recordings.files";
const CHUNKS: &str = "recordings.chunks";

/// A recording's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioFile {
    /// Its name.
    pub id: String,
    /// Bytes of all of it.
    pub length: u64,
    chunk: u64,
}

/// The pieces of a recording that hold a range of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    first: u64,
    last: u64,
    /// Bytes of the first piece that come before the range.
    skip: u64,
    /// Bytes of the range.
    take: u64,
}

impl AudioFile {
    /// Where bytes `from` to `to`, both included and within the file, are.
    pub fn chunks(&self, from: u64, to: u64) -> Chunks {
        Chunks {
            first: from / self.chunk,
            last: to / self.chunk,
            skip: from % self.chunk,
            take: to + 1 - from,
        }
    }
}

impl Views {
    /// The entry of the recording `id`.
    pub async fn audio(&self, id: &str) -> Result<Option<AudioFile>, StoreError> {
        let files = self.store.database.collection::<Document>(FILES);
        let (filter, id) = (doc! { "_id": id }, id.to_owned());
        let found =
            self.ask(async move { files.find_one(filter).max_time(super::SERVER_TIME).await }).await?;
        let number = |file: &Document, field: &str| match file.get(field) {
            Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
            Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        Ok(found.and_then(|file| {
            let chunk = number(&file, "chunkSize").filter(|size| *size > 0)?;
            Some(AudioFile { id, length: number(&file, "length")?, chunk })
        }))
    }

    /// The bytes of `chunks`, one piece in memory at a time.
    pub async fn audio_bytes(
        &self,
        file: &AudioFile,
        chunks: Chunks,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send + use<>, StoreError> {
        let pieces = self.store.database.collection::<Document>(CHUNKS);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let filter =
            doc! { "files_id": &file.id, "n": { "$gte": number(chunks.first), "$lte": number(chunks.last) } };
        let cursor = self.ask(async move { pieces.find(filter).sort(doc! { "n": 1 }).batch_size(4).await });
        let (mut skip, mut left) = (chunks.skip, chunks.take);
        Ok(cursor.await?.map_err(StoreError::from).map_ok(move |mut piece| {
            let mut bytes = match piece.remove("data") {
                Some(Bson::Binary(data)) if data.subtype == BinarySubtype::Generic => Bytes::from(data.bytes),
                _ => Bytes::new(),
            };
            let before = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            bytes = bytes.split_off(before);
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            skip = 0;
            left -= bytes.len() as u64;
            bytes
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_in_the_pieces_that_hold_it() {
        let file = AudioFile { id: "a".to_owned(), length: 25, chunk: 10 };
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
