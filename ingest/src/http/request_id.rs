//! The id of a request, in the header `X-Request-Id` of its answer and in its log line.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

/// The header with the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Length of a new id: sixteen digits for the process, sixteen for the request.
const ID_LENGTH: usize = 32;
/// Longest id that is taken from a request, in bytes.
const MAX_ID: usize = 64;

/// The id that the sender gave, or else a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).filter(|given| is_id(given.as_bytes()));
    given.cloned().unwrap_or_else(new_id)
}

/// Whether a text can be an id. Ids get into log lines, so telephone numbers and control characters do not
/// count as ids.
fn is_id(text: &[u8]) -> bool {
    (8..=MAX_ID).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && text.iter().any(u8::is_ascii_alphabetic)
}

/// A new id: a random beginning for the process, and a number. A random id for each request would cost more.
fn new_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    static PROCESS: LazyLock<[u8; ID_LENGTH]> = LazyLock::new(|| {
        let mut text = [b'0'; ID_LENGTH];
        hex::encode_to_slice(rand::random::<[u8; 8]>(), &mut text[..16]).expect("two digits for each byte");
        text
    });
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let mut text = *PROCESS;
    let mut number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let mut position = ID_LENGTH;
    while number > 0 {
        position -= 1;
        text[position] = DIGITS[(number & 0xf) as usize];
        number >>= 4;
    }
    HeaderValue::from_bytes(&text).expect("hex digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_taken_over_and_any_other_is_replaced() {
        let id = |given: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
            request_id(&headers)
        };
        assert_eq!(id(b"4bf92f35-77b3_a"), "4bf92f35-77b3_a");
        for given in
            [&b"short"[..], b"with space", b"<script>", b"6580000001", "ééééé".as_bytes(), &[b'a'; 65]]
        {
            assert_eq!(id(given).len(), 32, "{given:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
