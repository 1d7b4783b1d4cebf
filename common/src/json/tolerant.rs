//! Reads well-formed JSON that `serde_json` or BSON cannot represent.
//!
//! The gateway checks only the grammar of a body. This reader accepts every body that the gateway accepts,
//! and changes only what has no other representation:
//!
//! | In the text | In the value |
//! | --- | --- |
//! | half of a surrogate pair (`\ud83d`) | U+FFFD |
//! | a number beyond the range of `f64` (`1e400`) | the largest or the smallest `f64` |
//! | an array or object below [`MAX_DEPTH`] levels | its own text, as a string |
//! | NUL in a field name (`"a\u0000b"`) | the six characters `\u0000` |
//! | a byte order mark before the text | nothing |
//!
//! Invariants: the time is linear in the length of the text, and the use of stack does not depend on its
//! depth.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::BYTE_ORDER_MARK;

/// Maximum number of levels of arrays and objects in a value. MongoDB documents have at most 100 levels, and
/// a payload is itself nested in its document.
pub const MAX_DEPTH: usize = 64;

/// `f64::MAX`, rounded towards zero, because the parser of `serde_json` may round the exact value to
/// infinity.
const LARGEST: &str = "1.797693134862315e308";
/// Numbers with fewer digits and without an exponent are in the range of `f64`.
const SAFE_DIGITS: usize = 300;
/// Replacement of half a surrogate pair.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The text is not JSON, or not an object. The error contains no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not readable as JSON at line {line} column {column}")]
pub struct ReadError {
    /// Line of the first error, from 1.
    pub line: usize,
    /// Column of the first error, in bytes.
    pub column: usize,
}

impl ReadError {
    /// An error at the byte after `before`.
    fn after(before: &[u8]) -> Self {
        let line = before.split(|&byte| byte == b'\n').count();
        let column = before.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
        Self { line, column }
    }
}

impl From<&serde_json::Error> for ReadError {
    fn from(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

/// Reads one JSON value.
///
/// # Errors
/// The text is not JSON by its grammar, or not UTF-8.
pub fn read(bytes: &[u8]) -> Result<Value, ReadError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let strict = serde_json::from_slice::<Value>(bytes);
    if let Ok(value) = strict
        && is_storable(&value, MAX_DEPTH)
    {
        return Ok(value);
    }
    // Errors are reported for the original text, because replacements hide parts of it and shift positions.
    let text = str::from_utf8(bytes).map_err(|error| ReadError::after(&bytes[..error.valid_up_to()]))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| ReadError::from(&error))?;
    serde_json::from_slice(&Rewriter::new(bytes).run()).map_err(|error| ReadError::from(&error))
}

/// Reads one JSON object.
///
/// # Errors
/// The errors of [`read`]. Any other JSON value is an error at its first byte.
pub fn read_object(bytes: &[u8]) -> Result<Map<String, Value>, ReadError> {
    match read(bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(ReadError { line: 1, column: 1 }),
    }
}

/// Whether a value has at most `levels` levels and no NUL in a name. The recursion is bounded, because
/// `serde_json` parses at most 127 levels.
fn is_storable(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_storable(item, levels - 1)),
        Value::Object(fields) => {
            levels > 0
                && fields.iter().all(|(name, value)| !name.contains('\0') && is_storable(value, levels - 1))
        }
        _ => true,
    }
}

/// Rewrites a JSON text token by token.
struct Rewriter<'a> {
    text: &'a [u8],
    /// Position of the next byte.
    at: usize,
    /// Position of the first byte that is not in `output` yet.
    copied: usize,
    output: Vec<u8>,
}

impl<'a> Rewriter<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, copied: 0, output: Vec::with_capacity(text.len()) }
    }

    fn run(mut self) -> Vec<u8> {
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => self.string(),
                b'[' | b'{' if depth >= MAX_DEPTH => self.deep_part(),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b'-' | b'0'..=b'9' => self.number(),
                _ => self.at += 1,
            }
        }
        self.replace(self.at, b"");
        self.output
    }

    /// Copies the text before `from`, and writes `replacement` instead of the text from `from` to `at`.
    fn replace(&mut self, from: usize, replacement: &[u8]) {
        self.output.extend_from_slice(&self.text[self.copied..from]);
        self.output.extend_from_slice(replacement);
        self.copied = self.at;
    }

    fn string(&mut self) {
        let end = string_end(self.text, self.at);
        let after = self.text[end..].iter().position(|byte| !byte.is_ascii_whitespace());
        // Only a name is followed by a colon.
        let is_name = after.is_some_and(|skipped| self.text[end + skipped] == b':');
        self.at += 1;
        while self.at < end {
            let from = self.at;
            match self.text[from] {
                b'\\' if self.text.get(from + 1) == Some(&b'u') => {
                    let first = escaped_unit(&self.text[from..end]);
                    let second = escaped_unit(self.text.get(from + 6..end).unwrap_or_default());
                    let is_low = |unit: Option<u16>| matches!(unit, Some(0xDC00..=0xDFFF));
                    match first {
                        Some(0xD800..=0xDBFF) if is_low(second) => self.at += 12,
                        Some(0xD800..=0xDFFF) => {
                            self.at += 6;
                            self.replace(from, REPLACEMENT);
                        }
                        Some(0) if is_name => {
                            self.at += 6;
                            self.replace(from, b"\\\\u0000");
                        }
                        _ => self.at += 2,
                    }
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at = end;
    }

    /// Replaces a valid number that is beyond the range of `f64`.
    fn number(&mut self) {
        let from = self.at;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.text[from..].iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        let token = &self.text[from..self.at];
        let may_overflow = length >= SAFE_DIGITS || token.iter().any(|byte| matches!(byte, b'e' | b'E'));
        if may_overflow
            && serde_json::from_slice::<f64>(token).is_err()
            && serde_json::from_slice::<IgnoredAny>(token).is_ok()
        {
            let sign = if token.starts_with(b"-") { "-" } else { "" };
            self.replace(from, format!("{sign}{LARGEST}").as_bytes());
        }
    }

    /// Replaces an array or object by a string that holds its text.
    fn deep_part(&mut self) {
        let from = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at = string_end(self.text, self.at);
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                let part = str::from_utf8(&self.text[from..self.at]).expect("cut at brackets of a text");
                let string = serde_json::to_vec(part).expect("a text is JSON");
                self.replace(from, &string);
                return;
            }
        }
    }
}

/// The position after the string that begins at `from`, or the end of the text if the string does not end.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The UTF-16 unit at the beginning of `text`, if it is an escape such as `\u002b`.
pub(crate) fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    // `from_str_radix` would accept a sign, too.
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(levels: usize, inner: &str) -> String {
        format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn only_parts_without_another_representation_are_changed() {
        let max: f64 = LARGEST.parse().unwrap();
        #[rustfmt::skip]
        let table = [
            (r#"{"a":"bye \ud83d"}"#,              json!({ "a": "bye \u{FFFD}" })),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#,      json!({ "a": "\u{FFFD}\u{1F600}" })),
            (r#"{"a":"\ude00\ud83dx\uD83D\n"}"#,   json!({ "a": "\u{FFFD}\u{FFFD}x\u{FFFD}\n" })),
            (r#"{"a":"\ud83d\u0041"}"#,            json!({ "a": "\u{FFFD}A" })),
            (r#"{"a":"\\ud83d \ud83d"}"#,          json!({ "a": "\\ud83d \u{FFFD}" })),
            (r#"{"\ud83d":"\""}"#,                 json!({ "\u{FFFD}": "\"" })),
            ("{\"a\":1e400,\"b\":-1e999}",         json!({ "a": max, "b": -max })),
            ("{\"a\":1e99999999999999999999}",     json!({ "a": max })),
            ("{\"a\":1e-999,\"b\":0e999,\"c\":7}", json!({ "a": 0.0, "b": 0.0, "c": 7 })),
            (r#"{"a\u0000b" : "c\u0000d"}"#,       json!({ "a\\u0000b": "c\0d" })),
            (r#"{"a\\u0000":1,"b\u0000":[2]}"#,    json!({ "a\\u0000": 1, "b\\u0000": [2] })),
            ("\u{FEFF}{\"a\":1}",                  json!({ "a": 1 })),
            (r#"{"a":1,"a":2}"#,                   json!({ "a": 2 })),
            (r#"{"a":"1e400 [[ \ud83d: "}"#,       json!({ "a": "1e400 [[ \u{FFFD}: " })),
        ];
        for (text, expected) in table {
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text}");
        }
        let digits = "9".repeat(400);
        assert_eq!(read(format!("[{digits},-{digits}]").as_bytes()), Ok(json!([max, -max])));
    }

    #[test]
    fn too_deep_parts_are_kept_as_text() {
        let part = r#"[{"a" : "]\ud83d\"", "b":1e400}]"#;
        for (levels, is_text) in [(MAX_DEPTH - 2, false), (MAX_DEPTH, true)] {
            let read = read(nested(levels, part).as_bytes()).unwrap();
            let inner = (0..levels).fold(&read, |value, _| &value[0]);
            assert_eq!(inner.as_str(), is_text.then_some(part), "{levels} levels");
        }
        // Depths that the gateway accepts, and a depth at which a recursive reader would overflow the stack.
        for levels in [MAX_DEPTH + 1, 127, 128, 1000, 1_000_000] {
            let text = format!("{{\"a\":{},\"b\":1}}", nested(levels, ""));
            assert_eq!(read(text.as_bytes()).unwrap()["b"], 1, "{levels} levels");
        }
    }

    #[test]
    fn invalid_json_is_refused_with_its_position() {
        #[rustfmt::skip]
        let table: [(&[u8], usize, usize); 9] = [
            (b"",                                1, 0),
            (b"{\"a\":1",                        1, 6),
            (b"{\"a\":\"\\ud83d\",\n\"b\":}",    2, 5),
            (b"{\"a\":1e}",                      1, 8),
            (b"{\"a\":01e999}",                  1, 7),
            (b"{\"a\":\"\\u12\"}",               1, 12),
            (b"{\"a\":\"\n\"}",                  1, 6),
            (b"[1] 2",                           1, 5),
            (b"{a:1}",                           1, 2),
        ];
        for (text, line, column) in table {
            assert_eq!(read(text), Err(ReadError { line, column }), "{}", text.escape_ascii());
        }
        assert_eq!(read(b"{\"a\":\n\"b\xff\"}"), Err(ReadError { line: 2, column: 3 }), "not UTF-8");
        let wrong = format!("{{\"a\":{}}}", nested(100, "1 2"));
        assert!(read(wrong.as_bytes()).is_err(), "an error below MAX_DEPTH levels");
        assert!(
            read(format!("{{\"a\":{}", "[".repeat(1_000_000)).as_bytes()).is_err(),
            "brackets that are never closed"
        );
        assert_eq!(read_object(b"[]"), Err(ReadError { line: 1, column: 1 }));
    }

    #[test]
    fn time_is_linear_in_the_length() {
        // Quadratic work on any of these would take minutes.
        let (many, started) = (400_000, Instant::now());
        for text in [
            format!("[{}]", vec!["\"\\ud83d\"     "; many].join(",")),
            format!("[{}]", vec!["1e999"; many].join(",")),
            nested(many, "\"\\ud83d\""),
            format!("{}{}", "[".repeat(MAX_DEPTH), "[\"".repeat(many)),
            format!("[{}", "\"\\".repeat(many)),
            format!("[{}1e400]", "9".repeat(many)),
        ] {
            let _any = read(text.as_bytes());
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn result_equals_the_result_of_the_strict_parser(text in r#"[{}\[\]":,0-9eE.\-\\udUD8cCaf ]{0,24}"#) {
            let accepted = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            let read = read(text.as_bytes());
            prop_assert_eq!(read.is_ok(), accepted, "{}", text);
            if let Ok(strict) = serde_json::from_str::<Value>(&text)
                && is_storable(&strict, MAX_DEPTH)
            {
                prop_assert_eq!(read, Ok(strict));
            }
        }

        #[test]
        fn reading_any_bytes_does_not_panic(bytes: Vec<u8>) {
            let _any = read(&bytes);
        }
    }
}
