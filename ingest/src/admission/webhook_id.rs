//! The id of a webhook. Pure.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The id of a webhook: the same for the same bytes posted to the same path. Shown as 64 lower-case hex
/// digits.
///
/// A publish that timed out may have been stored, and the sender repeats a webhook that was answered 503.
/// In both cases the broker sees the same id again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WebhookId([u8; 32]);

impl WebhookId {
    /// All bytes.
    pub(crate) fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// The first eight bytes. They are evenly distributed.
    pub(crate) fn short(self) -> u64 {
        let (first, _) = self.0.split_first_chunk().expect("32 bytes are more than 8");
        u64::from_be_bytes(*first)
    }
}

impl From<[u8; 32]> for WebhookId {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_error| fmt::Error)?;
        f.write_str(str::from_utf8(&digits).map_err(|_error| fmt::Error)?)
    }
}

/// SHA-256 of path, one line feed (which no path contains), and body. The body may be in several pieces.
pub fn webhook_id(path: &str, body: &[Bytes]) -> WebhookId {
    let hash = Sha256::new().chain_update(path).chain_update(b"\n");
    WebhookId(body.iter().fold(hash, Sha256::chain_update).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_depends_on_path_and_bytes_alone() {
        let id = webhook_id("/p", &[Bytes::from_static(b"{}")]);
        // printf '/p\n{}' | sha256sum
        assert_eq!(id.to_string(), "65bd359112a4593242c589a97575da863d901c148fc7401a9d451cf393acc652");
        let pieces = [Bytes::from_static(b"{"), Bytes::from_static(b"}")];
        assert_eq!(id, webhook_id("/p", &pieces), "in several pieces");
        assert_ne!(id, webhook_id("/q", &[Bytes::from_static(b"{}")]));
        assert_ne!(id, webhook_id("/p", &[Bytes::from_static(b"{} ")]));
    }
}
