//! A record of the log as bytes. Pure.
//!
//! A record is a prefix and its content. The prefix has a mark, the length of the content, and the checksum of the
//! content. The content has one byte for its kind, and the fields of this kind. After damaged bytes, the next record is
//! found by its mark. The mark is random, and a file that is used again gets a new one, so neither a record of the
//! earlier use nor the body of a webhook is taken for a record. All numbers are little-endian.

use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};
use bytes::{Buf as _, BufMut as _, Bytes};

use crate::{
    admission::body::Body,
    storage::message::{Webhook, WebhookId},
};

/// The first bytes of each record of a segment.
pub(super) type Mark = [u8; 8];

/// Bytes before the content: mark, length and checksum.
pub(super) const PREFIX_BYTES: usize = 16;
/// Bytes of a checkpoint.
pub(super) const CHECKPOINT_BYTES: usize = PREFIX_BYTES + 1 + 8;
const WEBHOOK: u8 = 1;
const CHECKPOINT: u8 = 2;

/// The content of a record.
#[derive(Debug)]
pub(super) enum Content {
    /// A webhook.
    Webhook(Webhook),
    /// All webhooks at positions lower than this number are removed.
    Checkpoint(u64),
}

/// Writes the record of a webhook.
pub(super) struct RecordEncoder<'a> {
    webhook: &'a Webhook,
    headers: Vec<(&'a str, &'a str)>,
    /// Bytes of the whole record.
    pub length: usize,
}

impl<'a> RecordEncoder<'a> {
    pub fn new(webhook: &'a Webhook) -> Self {
        let pairs = webhook.headers.iter();
        let headers: Vec<(&str, &str)> = pairs
            .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
            .collect();
        let header_bytes: usize = headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        let content = 1 + 32 + 4 + webhook.subject.len() + 4 + header_bytes + webhook.body.len();
        Self { webhook, headers, length: PREFIX_BYTES + content }
    }

    /// Appends the record to `bytes`, as a record of the segment with this mark.
    pub fn write(&self, bytes: &mut Vec<u8>, mark: Mark) {
        let start = bytes.len();
        bytes.put_bytes(0, PREFIX_BYTES);
        bytes.put_u8(WEBHOOK);
        bytes.put_slice(&self.webhook.id.bytes());
        put_text(bytes, &self.webhook.subject);
        bytes.put_u32_le(to_u32(self.headers.len()));
        for (name, value) in &self.headers {
            put_text(bytes, name);
            put_text(bytes, value);
        }
        for piece in self.webhook.body.pieces() {
            bytes.put_slice(piece);
        }
        write_prefix(&mut bytes[start..], mark);
    }
}

/// The record that says that all webhooks at positions lower than `position` are removed.
pub(super) fn checkpoint(position: u64, mark: Mark) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CHECKPOINT_BYTES);
    bytes.put_bytes(0, PREFIX_BYTES);
    bytes.put_u8(CHECKPOINT);
    bytes.put_u64_le(position);
    write_prefix(&mut bytes, mark);
    bytes
}

/// The length of the content after this prefix, in bytes. `None`: no record begins here.
pub(super) fn content_length(prefix: [u8; PREFIX_BYTES], mark: Mark) -> Option<usize> {
    let mut rest = prefix.strip_prefix(&mark)?;
    let length = rest.get_u32_le();
    (length > 0).then_some(length as usize)
}

/// Reads the content of the record with this prefix. `None`: these bytes are no record.
pub(super) fn read(prefix: [u8; PREFIX_BYTES], mut content: &[u8]) -> Option<Content> {
    let (_, mut checksum) = prefix.split_at(PREFIX_BYTES - 4);
    if crc32fast::hash(content) != checksum.get_u32_le() {
        return None;
    }
    match content.try_get_u8().ok()? {
        WEBHOOK => read_webhook(content).map(Content::Webhook),
        CHECKPOINT => content.try_get_u64_le().ok().map(Content::Checkpoint),
        _ => None,
    }
}

fn read_webhook(mut content: &[u8]) -> Option<Webhook> {
    let (id, rest) = content.split_first_chunk::<32>()?;
    content = rest;
    let subject = Subject::from(take_text(&mut content)?);
    let mut headers = HeaderMap::new();
    for _ in 0..content.try_get_u32_le().ok()? {
        let name: HeaderName = take_text(&mut content)?.parse().ok()?;
        let value: HeaderValue = take_text(&mut content)?.parse().ok()?;
        headers.append(name, value);
    }
    let body = Body::unbudgeted(Bytes::copy_from_slice(content));
    Some(Webhook { subject, id: WebhookId::from(*id), headers, body })
}

/// Writes the prefix of `record`, whose content is complete.
fn write_prefix(record: &mut [u8], mark: Mark) {
    let (mut prefix, content) = record.split_at_mut(PREFIX_BYTES);
    prefix.put_slice(&mark);
    prefix.put_u32_le(to_u32(content.len()));
    prefix.put_u32_le(crc32fast::hash(content));
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.put_u32_le(to_u32(text.len()));
    bytes.put_slice(text.as_bytes());
}

fn take_text<'a>(content: &mut &'a [u8]) -> Option<&'a str> {
    let length = content.try_get_u32_le().ok()? as usize;
    let (text, rest) = content.split_at_checked(length)?;
    *content = rest;
    str::from_utf8(text).ok()
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a record is shorter than 4 GiB, because a body has at most 128 MiB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Content with a valid checksum may still be malformed.
        #[test]
        fn any_content_is_read_or_refused(content in prop::collection::vec(any::<u8>(), 1..200)) {
            for kind in [0, WEBHOOK, CHECKPOINT] {
                let mut record = vec![0; PREFIX_BYTES];
                record.push(kind);
                record.extend(&content);
                write_prefix(&mut record, *b"12345678");
                let (prefix, content) = record.split_first_chunk().unwrap();
                prop_assert_eq!(content_length(*prefix, *b"12345678"), Some(content.len()));
                prop_assert_eq!(content_length(*prefix, *b"12345679"), None, "a record of an earlier use");
                let _any = read(*prefix, content);
                let changed = [content, b"?"].concat();
                prop_assert!(read(*prefix, &changed).is_none());
            }
        }
    }
}
