//! A record of the log as bytes. Pure.
//!
//! A record is its length, a checksum, and its content: a kind, and what the kind says. The checksum includes the
//! number of the segment, so that a record that was left over from an earlier use of the file is not taken for a new
//! one. All numbers are little-endian.

use async_nats::{HeaderMap, HeaderName, HeaderValue, Subject};
use bytes::{Buf as _, BufMut as _, Bytes};

use crate::{
    admission::body::Body,
    storage::message::{Webhook, WebhookId},
};

/// Bytes before the content: length and checksum.
pub(super) const PREFIX_BYTES: usize = 8;
/// Bytes of the record that says what is removed.
pub(super) const REMOVED_BYTES: usize = PREFIX_BYTES + 1 + 8;
const WEBHOOK: u8 = 1;
const REMOVED: u8 = 2;

/// The content of a record.
#[derive(Debug)]
pub(super) enum Content {
    /// A webhook.
    Webhook(Webhook),
    /// All webhooks at lower places than this one are removed.
    Removed(u64),
}

/// The length that the record of `webhook` has, and its headers as pairs.
pub(super) struct Outline<'a> {
    webhook: &'a Webhook,
    headers: Vec<(&'a str, &'a str)>,
    /// Bytes of the whole record.
    pub length: usize,
}

impl<'a> Outline<'a> {
    pub fn of(webhook: &'a Webhook) -> Self {
        let pairs = webhook.headers.iter();
        let headers: Vec<(&str, &str)> = pairs
            .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
            .collect();
        let header_bytes: usize = headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        let content = 1 + 32 + 4 + webhook.subject.len() + 4 + header_bytes + webhook.body.len();
        Self { webhook, headers, length: PREFIX_BYTES + content }
    }

    /// Appends the record to `bytes`, as a record of the segment with this number.
    pub fn write(&self, bytes: &mut Vec<u8>, segment: u64) {
        let start = bytes.len();
        bytes.put_bytes(0, PREFIX_BYTES);
        bytes.put_u8(WEBHOOK);
        bytes.put_slice(&self.webhook.id.bytes());
        put_text(bytes, &self.webhook.subject);
        bytes.put_u32_le(number(self.headers.len()));
        for (name, value) in &self.headers {
            put_text(bytes, name);
            put_text(bytes, value);
        }
        for piece in self.webhook.body.pieces() {
            bytes.put_slice(piece);
        }
        seal(&mut bytes[start..], segment);
    }
}

/// The record that says that all webhooks at places lower than `place` are removed.
pub(super) fn removed(place: u64, segment: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REMOVED_BYTES);
    bytes.put_bytes(0, PREFIX_BYTES);
    bytes.put_u8(REMOVED);
    bytes.put_u64_le(place);
    seal(&mut bytes, segment);
    bytes
}

/// The bytes of the content that begins after this prefix. `None`: no record begins here.
pub(super) fn content_bytes(prefix: [u8; PREFIX_BYTES]) -> Option<usize> {
    let bytes = (&prefix[..]).get_u32_le();
    (bytes > 0).then_some(bytes as usize)
}

/// Reads the content of a record of the segment with this number. `None`: these bytes are no such record.
pub(super) fn read(prefix: [u8; PREFIX_BYTES], content: &[u8], segment: u64) -> Option<Content> {
    let checksum_stored = (&prefix[4..]).get_u32_le();
    if checksum(content, segment) != checksum_stored {
        return None;
    }
    let mut content = content;
    match content.try_get_u8().ok()? {
        WEBHOOK => read_webhook(content).map(Content::Webhook),
        REMOVED => content.try_get_u64_le().ok().map(Content::Removed),
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

/// Writes length and checksum into the prefix of `record`.
fn seal(record: &mut [u8], segment: u64) {
    let (prefix, content) = record.split_at_mut(PREFIX_BYTES);
    let mut prefix = prefix;
    prefix.put_u32_le(number(content.len()));
    prefix.put_u32_le(checksum(content, segment));
}

fn checksum(content: &[u8], segment: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.put_u32_le(number(text.len()));
    bytes.put_slice(text.as_bytes());
}

fn take_text<'a>(content: &mut &'a [u8]) -> Option<&'a str> {
    let length = content.try_get_u32_le().ok()? as usize;
    let (text, rest) = content.split_at_checked(length)?;
    *content = rest;
    str::from_utf8(text).ok()
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a body has at most 128 MiB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A record with a right checksum may say anything: the disk is not trusted more than a sender.
        #[test]
        fn any_content_is_read_or_refused(content in prop::collection::vec(any::<u8>(), 1..200)) {
            for kind in [0, WEBHOOK, REMOVED] {
                let mut record = vec![0; PREFIX_BYTES];
                record.push(kind);
                record.extend(&content);
                seal(&mut record, 7);
                let (prefix, content) = record.split_first_chunk().unwrap();
                prop_assert_eq!(content_bytes(*prefix), Some(content.len()));
                let _any = read(*prefix, content, 7);
                prop_assert!(read(*prefix, content, 8).is_none(), "a record of another segment");
            }
        }
    }
}
