//! Addresses of pages. Pure.

use std::borrow::Cow;

use aftercall_common::phone_numbers::Numbers;

use super::format;
use crate::store::views::CallRow;

/// The address of the page of the call that `name` identifies.
pub fn of_call(name: &str) -> String {
    format!("/calls/{}", segment(name))
}

/// The address of the page of the batch `id`. Empty if the address would show a telephone number that is masked, or if
/// the id is a step of a path.
pub fn of_batch(id: &str, numbers: Numbers) -> String {
    if numbers.id(id) == id && !is_step(id) { format!("/batches/{}", segment(id)) } else { String::new() }
}

/// The address of the calls of a period that failed for this reason. Empty if the address would show a telephone number
/// that is masked.
pub fn of_reason(reason: &str, period: &str, numbers: Numbers) -> String {
    if format::sender_text(reason, numbers) != reason {
        return String::new();
    }
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("reason", reason).finish();
    format!("/calls?{query}&period={period}")
}

/// The address of the page of the endpoint `id`.
pub fn of_endpoint(id: &str) -> String {
    format!("/endpoints/{}", segment(id))
}

/// The address of the page of the delivery `id`.
pub fn of_delivery(id: &str) -> String {
    format!("/deliveries/{}", segment(id))
}

/// The address of the page of `row`, which `name` identifies. If `name` contains a telephone number that is
/// hidden, or is a step of a path, the address has the id of the document instead.
pub fn of_row(row: &CallRow, name: &str, numbers: Numbers) -> String {
    match numbers.id(name) {
        Cow::Borrowed(name) if !is_step(name) => of_call(name),
        _ => of_call(&row.id.to_hex()),
    }
}

/// Whether browsers take `id` for a step of a path. They take `%2E%2E` for `..`, too.
pub fn is_step(id: &str) -> bool {
    matches!(id, "." | "..")
}

/// `id` as a segment of a path. Ids may contain `/`, `?` and other special characters.
fn segment(id: &str) -> String {
    use std::fmt::Write as _;
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            write!(segment, "%{byte:02X}").expect("a String takes all");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_an_id_are_escaped_in_its_path() {
        assert_eq!(segment("CA1_-~"), "CA1_-~");
        assert_eq!(segment("a/b?c#d e%."), "a%2Fb%3Fc%23d%20e%25%2E");
    }
}
