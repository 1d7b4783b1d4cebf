//! The turns and the recording of a call, read part by part.
//!
//! Each part is read independently, so any worker can answer for any part. [`Content::tag`] shows whether two
//! parts belong to the same content.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc, spec::BinarySubtype};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    audio::AudioFile,
    connection::{SERVER_TIME, Views},
};
use crate::store::{call_view::CallView, convert::bson_to_value, error::StoreError};

/// Bytes before and after the turns.
const OPENING: &[u8] = br#"{"turns":"#;
const CLOSING: &[u8] = b"}";
/// Bytes of a tag.
const TAG_BYTES: usize = 16;

/// The bytes that are requested: `length` bytes from `offset` on, or fewer at the end of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// A part of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Distinguishes two versions of the content.
    pub tag: String,
    /// Size of the whole content in bytes.
    pub length: u64,
    /// The requested bytes.
    pub bytes: Bytes,
}

impl Part {
    /// The requested bytes of a content of `length` bytes, as a range without its end.
    fn within(self, length: u64) -> (u64, u64) {
        let from = self.offset.min(length);
        (from, self.offset.saturating_add(self.length).min(length))
    }

    fn slice(self, whole: &Bytes) -> Bytes {
        let (from, to) = self.within(whole.len() as u64);
        let index = |n| usize::try_from(n).unwrap_or(usize::MAX);
        whole.slice(index(from)..index(to))
    }
}

impl Views {
    /// A part of the JSON with the turns of `call`, which [`Self::transcript_call`] has read. `None`: the call
    /// has no turns.
    pub async fn transcript(&self, call: &CallView, part: Part) -> Result<Option<Content>, StoreError> {
        if let Some((file, _)) = call.transcript_file() {
            return self.transcript_of_file(&file, part).await;
        }
        let Some(turns) = call.document().get("transcript").filter(|turns| turns.as_array().is_some()) else {
            return Ok(None);
        };
        let turns: Value = bson_to_value(turns);
        let whole = [OPENING, turns.to_string().as_bytes(), CLOSING].concat();
        let content =
            Content { tag: tag(&whole), length: whole.len() as u64, bytes: part.slice(&Bytes::from(whole)) };
        Ok(Some(content))
    }

    /// The call with the id `name`, with what [`Self::transcript`] needs.
    pub async fn transcript_call(&self, name: &str) -> Result<Option<CallView>, StoreError> {
        self.find_call(name, doc! { "transcript": 1, "transcriptState": 1 }).await
    }

    /// The call with the id `name`, with what [`Self::recording`] needs.
    pub async fn recording_call(&self, name: &str) -> Result<Option<CallView>, StoreError> {
        self.find_call(name, doc! { "audio": 1, "recordingState": 1 }).await
    }

    /// A part of the recording of `call`. `None`: the call has no recording.
    pub async fn recording(&self, call: &CallView, part: Part) -> Result<Option<Content>, StoreError> {
        let Some(id) = call.recording_file() else { return Ok(None) };
        let Some(file) = self.audio(id).await? else { return Ok(None) };
        let (from, to) = part.within(file.length);
        let bytes = self.file_bytes(&file, from, to).await?;
        Ok(Some(Content { tag: file_tag(&file), length: file.length, bytes }))
    }

    /// The turns in a file, with the bytes before and after them.
    async fn transcript_of_file(&self, id: &str, part: Part) -> Result<Option<Content>, StoreError> {
        let Some(file) = self.transcript_file(id).await? else { return Ok(None) };
        let (opening, closing) = (OPENING.len() as u64, CLOSING.len() as u64);
        let length = opening + file.length + closing;
        let (from, to) = part.within(length);
        let turns = |n: u64| n.clamp(opening, opening + file.length) - opening;
        let mut bytes = part.slice(&Bytes::from_static(OPENING)).to_vec();
        bytes.extend(self.file_bytes(&file, turns(from), turns(to)).await?);
        if to == length && from < to {
            bytes.extend(CLOSING);
        }
        Ok(Some(Content { tag: file_tag(&file), length, bytes: bytes.into() }))
    }

    /// The bytes of `file` from `from` on, before `to`.
    pub(super) async fn file_bytes(&self, file: &AudioFile, from: u64, to: u64) -> Result<Bytes, StoreError> {
        if from >= to {
            return Ok(Bytes::new());
        }
        let (chunks, number) = (file.chunks(from, to - 1), |n: u64| i64::try_from(n).unwrap_or(i64::MAX));
        let collection = self.store.database.collection::<Document>(file.chunks_collection());
        let filter = doc! {
            "files_id": &file.id, "n": { "$gte": number(chunks.first), "$lte": number(chunks.last) },
        };
        let read = self.ask(async move {
            let found = collection.find(filter).sort(doc! { "n": 1 }).max_time(SERVER_TIME).await?;
            found.try_collect::<Vec<_>>().await
        });
        let mut bytes = Vec::new();
        for mut chunk in read.await? {
            if let Some(Bson::Binary(data)) = chunk.remove("data")
                && data.subtype == BinarySubtype::Generic
            {
                bytes.extend(data.bytes);
            }
        }
        let whole = Bytes::from(bytes);
        let read = Part { offset: chunks.skip, length: chunks.take }.slice(&whole);
        if read.len() as u64 == chunks.take {
            Ok(read)
        } else {
            Err(StoreError::Unavailable("a file has missing chunks".to_owned()))
        }
    }
}

fn tag(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..TAG_BYTES])
}

/// The content of a file does not change, so its id and its size stand for it.
fn file_tag(file: &AudioFile) -> String {
    tag(format!("{}:{}", file.id, file.length).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_cut_at_the_end_of_the_content() {
        let whole = Bytes::from_static(b"0123456789");
        #[rustfmt::skip]
        let table: [(u64, u64, &[u8]); 6] = [
            (0,        4,        b"0123"),
            (8,        4,        b"89"),
            (9,        1,        b"9"),
            (10,       1,        b""),
            (u64::MAX, u64::MAX, b""),
            (5,        0,        b""),
        ];
        for (offset, length, expected) in table {
            assert_eq!(Part { offset, length }.slice(&whole), expected, "{offset} {length}");
        }
    }
}
