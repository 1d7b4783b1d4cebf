//! JSON as senders write it: what is accepted, within bounds that both gateway and worker keep, and how it is
//! read.

pub mod measure;
mod tolerant;

pub(crate) use self::tolerant::escaped_unit;
pub use self::tolerant::{MAX_DEPTH, ReadError, read, read_object};

/// The UTF-8 byte order mark, which RFC 8259 (section 8.1) lets a reader pass over.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
