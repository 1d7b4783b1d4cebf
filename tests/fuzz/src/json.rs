//! The gateway's check that a body is one JSON object, compared with `serde_json`.
//!
//! Input: a body.

use aftercall_common::json::BYTE_ORDER_MARK;
use aftercall_ingest::admission::json::{JsonError, check, check_pieces};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::input::pieces;

/// All error messages of the check. None of them repeats a part of the body.
const PHRASES: [&str; 21] = [
    "the body is not UTF-8",
    "the body must be one JSON object",
    "the body is not valid JSON: EOF while parsing a list",
    "the body is not valid JSON: EOF while parsing a string",
    "the body is not valid JSON: EOF while parsing a value",
    "the body is not valid JSON: EOF while parsing an object",
    "the body is not valid JSON: control character (\\u0000-\\u001F) found while parsing a string",
    "the body is not valid JSON: expected `,` or `]`",
    "the body is not valid JSON: expected `,` or `}`",
    "the body is not valid JSON: expected `:`",
    "the body is not valid JSON: expected ident",
    "the body is not valid JSON: expected value",
    "the body is not valid JSON: invalid escape",
    "the body is not valid JSON: invalid number",
    "the body is not valid JSON: invalid unicode code point",
    "the body is not valid JSON: key must be a string",
    "the body is not valid JSON: lone leading surrogate in hex escape",
    "the body is not valid JSON: number out of range",
    "the body is not valid JSON: trailing characters",
    "the body is not valid JSON: trailing comma",
    "the body is not valid JSON: unexpected end of hex escape",
];

/// Checks that the result does not depend on the pieces of the body, agrees with `serde_json`, and repeats
/// nothing of the body.
pub fn run(data: &[u8]) {
    let result = check(data);
    if let Err(JsonError::Invalid(message)) = &result {
        let (phrase, position) = message.split_once(" at line ").expect("a message names a position");
        assert!(PHRASES.contains(&phrase), "unknown message: {message}");
        let (line, column) = position.split_once(" column ").expect("a position is a line and a column");
        for number in [line, column] {
            let number: usize = number.parse().expect("a position consists of numbers");
            assert!(number <= data.len() + 1, "beyond the body: {message}");
        }
    }
    for cut in pieces(&Bytes::copy_from_slice(data)) {
        assert_eq!(check_pieces(&cut).is_ok(), result.is_ok(), "in {} pieces", cut.len());
    }
    if matches!(result, Err(JsonError::TooComplex(_))) {
        return;
    }
    if serde_json::from_slice::<Map<String, Value>>(data).is_ok() {
        assert_eq!(result, Ok(()), "a body that the worker can read was refused");
    }
    if result.is_ok() {
        let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
        let is_object = data.trim_ascii_start().starts_with(b"{");
        let is_json =
            std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        assert!(is_object && is_json, "a body that is not a JSON object was accepted");
    }
}
