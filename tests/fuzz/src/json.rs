//! Whether a body is one JSON object: the gateway's check against `serde_json` itself.
//!
//! Input: a body.

use aftercall_common::json::BYTE_ORDER_MARK;
use aftercall_ingest::admission::json::{JsonError, check, check_pieces};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::pieces;

/// Everything that may be said of a bad body, so that nothing of the body is.
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

/// The verdict does not depend on the cut, agrees with `serde_json`, and repeats nothing of the body.
pub fn run(data: &[u8]) {
    let verdict = check(data);
    if let Err(JsonError::Invalid(complaint)) = &verdict {
        let (phrase, place) = complaint.split_once(" at line ").expect("a complaint names a place");
        assert!(PHRASES.contains(&phrase), "not a phrase we know: {complaint}");
        let (line, column) = place.split_once(" column ").expect("a place is a line and a column");
        for number in [line, column] {
            let number: usize = number.parse().expect("a place is numbers");
            assert!(number <= data.len() + 1, "beyond the body: {complaint}");
        }
    }
    for cut in pieces::of(&Bytes::copy_from_slice(data)) {
        assert_eq!(check_pieces(&cut).is_ok(), verdict.is_ok(), "in {} pieces", cut.len());
    }
    if matches!(verdict, Err(JsonError::TooComplex(_))) {
        return;
    }
    if serde_json::from_slice::<Map<String, Value>>(data).is_ok() {
        assert_eq!(verdict, Ok(()), "what the worker can read was refused");
    }
    if verdict.is_ok() {
        let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
        let is_object = data.trim_ascii_start().starts_with(b"{");
        let is_json =
            std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        assert!(is_object && is_json, "what is no JSON object was let in");
    }
}
