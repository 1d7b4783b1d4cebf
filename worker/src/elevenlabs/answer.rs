//! Parses the answers of the API, within bounds. Pure.

use aftercall_common::json::{
    self,
    measure::{LIMITS, measure},
};
use serde::de::DeserializeOwned;

use super::ApiError;

/// Parses an answer by the rules for webhooks, because ElevenLabs may return text that a sender wrote.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Many small values would take more memory than a worker has once they are parsed.
    measure([body], LIMITS).map_err(|_error| ApiError::TooLarge)?;
    let value = json::read(body).map_err(|_error| ApiError::Unreadable)?;
    serde_json::from_value(value).map_err(|_error| ApiError::Unreadable)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_answer_with_too_many_values_is_not_parsed() {
        let arrays = |count: usize| format!("[{}0]", "[],".repeat(count));
        assert!(read::<Value>(arrays(1000).as_bytes()).is_ok());
        assert_eq!(read::<Value>(arrays(300_000).as_bytes()), Err(ApiError::TooLarge));
        assert_eq!(read::<Value>(b"<html>"), Err(ApiError::Unreadable));
    }
}
