//! Reading JSON that senders wrote, within bounds that both gateway and worker keep.

pub mod measure;

/// The UTF-8 byte order mark, which RFC 8259 (section 8.1) lets a reader pass over.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
