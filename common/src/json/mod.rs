//! Bounds for JSON from senders, and a reader for JSON that `serde_json` or BSON cannot represent.
//!
//! Gateway and worker use the same bounds.

pub mod measure;
mod tolerant;

pub(crate) use self::tolerant::escaped_unit;
pub use self::tolerant::{MAX_DEPTH, ReadError, read, read_object};

/// The UTF-8 byte order mark. RFC 8259, section 8.1, allows readers to ignore it.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
