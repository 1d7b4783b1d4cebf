//! Checks that a body is exactly one JSON object within the limits of [`measure`], without building the
//! value.
//!
//! A byte order mark before the object is skipped.
//!
//! Invariants:
//! - The check does not recurse, and uses one bit of memory for each level of nesting: `serde_json` skips
//!   values in a loop.
//! - Error texts contain no part of the body.

use std::{fmt, io::BufReader, str};

use aftercall_common::json::{
    BYTE_ORDER_MARK,
    measure::{LIMITS, TooComplex, measure},
};
use bytes::Bytes;
use hyper::{HeaderMap, header::CONTENT_TYPE};
use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::error::Category;

use super::body::pieces::PiecesReader;

/// Why a body is refused as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The body is not one JSON object. The text gives line and column, and contains no part of the body.
    #[error("{0}")]
    Invalid(String),
    /// The body has too many values, or too many levels of nesting.
    #[error(transparent)]
    TooComplex(#[from] TooComplex),
}

/// Whether the headers declare a JSON body. A web page cannot send this type to another origin without a
/// preflight request.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Checks `body`.
///
/// # Errors
/// See [`JsonError`].
pub fn check(body: &[u8]) -> Result<(), JsonError> {
    measure([body], LIMITS)?;
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let text = str::from_utf8(body).map_err(|error| {
        let (line, column) = position(&body[..error.valid_up_to()]);
        JsonError::Invalid(format!("the body is not UTF-8 at line {line} column {column}"))
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| invalid_json(&error))
}

/// Checks a body in several pieces, without joining them.
///
/// # Errors
/// See [`JsonError`].
pub fn check_pieces(pieces: &[Bytes]) -> Result<(), JsonError> {
    if let [only] = pieces {
        return check(only);
    }
    measure(pieces.iter().map(|piece| &piece[..]), LIMITS)?;
    check_utf8(pieces)?;
    let mut reader = PiecesReader::new(pieces);
    reader.skip_byte_order_mark();
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| invalid_json(&error))
}

/// Checks that the pieces are UTF-8, because the reader of `serde_json` does not check the text that it
/// skips. The bytes of one character may be in two pieces.
fn check_utf8(pieces: &[Bytes]) -> Result<(), JsonError> {
    let wrong = || JsonError::Invalid("the body is not UTF-8".to_owned());
    let mut open: Vec<u8> = Vec::with_capacity(4);
    for piece in pieces {
        let mut rest = &piece[..];
        while !open.is_empty()
            && let Some((&byte, after)) = rest.split_first()
        {
            rest = after;
            open.push(byte);
            match str::from_utf8(&open) {
                Ok(_) => open.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(wrong()),
            }
        }
        match str::from_utf8(rest) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => open.extend_from_slice(&rest[error.valid_up_to()..]),
            Err(_) => return Err(wrong()),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(wrong()) }
}

fn invalid_json(error: &serde_json::Error) -> JsonError {
    JsonError::Invalid(match error.classify() {
        // These texts of serde_json are fixed. The text of a data error would repeat the value.
        Category::Syntax | Category::Eof | Category::Io => format!("the body is not valid JSON: {error}"),
        Category::Data => {
            format!("the body must be one JSON object at line {} column {}", error.line(), error.column())
        }
    })
}

/// Line and column of the byte after `before`, both counted from 1.
fn position(before: &[u8]) -> (usize, usize) {
    let line = before.split(|&byte| byte == b'\n').count();
    let column = before.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    (line, column)
}

/// Accepts one object with any content, and no other value.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("an array"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_one_object_is_accepted() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let deep = nested(999);
        for body in [
            "{}",
            " {\"a\":[1,{\"b\":null}]}\n",
            "{\"a\":1,\"a\":2}",
            "{\"n\":1e999}",
            "{\"é\":\"新\"}",
            "\u{feff}{}",
            &deep,
        ] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{}", &body[..20.min(body.len())]);
        }
        #[rustfmt::skip]
        let table: [(&[u8], &str); 17] = [
            (b"",                    "EOF while parsing a value at line 1 column 0"),
            (b"  \n ",               "EOF while parsing a value at line 2 column 1"),
            (b"{\"a\":1",            "EOF while parsing an object at line 1 column 6"),
            (b"{\"a\":1}\n{}",       "trailing characters at line 2 column 1"),
            (b"{\"a\":1}}",          "trailing characters at line 1 column 8"),
            (b"{\n\"a\":secret}",    "expected value at line 2 column 5"),
            (b"{'a':1}",             "key must be a string at line 1 column 2"),
            (b"{\"a\":NaN}",         "expected value at line 1 column 6"),
            (b"call_id=1",           "expected value at line 1 column 1"),
            (b"\xEF\xBB\xBF\xEF\xBB\xBF{}", "expected value at line 1 column 1"),
            (b"\xEF\xBB{}",          "not UTF-8 at line 1 column 1"),
            (b"[]",                  "must be one JSON object at line 1"),
            (b"\"secret\"",          "must be one JSON object at line 1"),
            (b"424242",              "must be one JSON object at line 1"),
            (b"null",                "must be one JSON object at line 1"),
            (b"true",                "must be one JSON object at line 1"),
            (b"{\"a\":\n\"b\xff\"}", "not UTF-8 at line 2 column 3"),
        ];
        for (body, expected) in table {
            let found = check(body).expect_err(expected).to_string();
            assert!(found.contains(expected), "{found} / {expected}");
            assert!(!found.contains("secret") && !found.contains("424242"), "{found}");
        }
        assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn too_many_values_or_levels_are_refused_in_one_piece_and_in_several() {
        let wide = |values: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(values - 3));
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        for (body, expected) in [
            (wide(250_000), Ok(())),
            (wide(250_001), Err(JsonError::TooComplex(TooComplex::Values(250_000)))),
            (deep(1000), Ok(())),
            (deep(1001), Err(JsonError::TooComplex(TooComplex::Depth(1000)))),
        ] {
            let body = Bytes::from(body);
            assert_eq!(check(&body), expected);
            assert_eq!(check_pieces(&[body.slice(..700), body.slice(700..)]), expected);
        }
    }

    #[test]
    fn byte_order_mark_may_lie_in_several_pieces() {
        let body = Bytes::from("\u{feff}{\"a\":1}");
        for cut in 0..body.len() {
            assert_eq!(check_pieces(&[body.slice(..cut), body.slice(cut..)]), Ok(()), "cut at {cut}");
        }
    }

    #[test]
    fn json_is_declared_by_the_media_type_alone() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            (" application/json", true),
            ("application/jsonp", false),
            ("application/json-patch+json", false),
            ("text/plain; application/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(value));
            assert_eq!(is_json(&headers), expected, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn pieces_are_checked_like_the_whole_body(text in "\\{\"a\":(\"[a-zé新😀]{0,20}\"|1|\\[)\\}?", at in prop::collection::vec(0..40usize, 1..4), flip: bool) {
            let mut body = text.into_bytes();
            if flip && let Some(byte) = body.get_mut(at[0]) { *byte ^= 0x80; }
            let mut cuts: Vec<_> = at.iter().map(|&cut| cut.min(body.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            for (from, to) in std::iter::once(0).chain(cuts.clone()).zip(cuts.into_iter().chain([body.len()])) {
                pieces.push(Bytes::copy_from_slice(&body[from..to]));
            }
            prop_assert_eq!(check_pieces(&pieces).is_ok(), check(&body).is_ok());
        }

        #[test]
        fn errors_contain_no_part_of_the_body(body: Vec<u8>, value in "[a-z]{12}") {
            let _any = check(&body);
            for body in [format!("{{\"{value}\":{value}}}"), format!("\"{value}\""), value.clone()] {
                prop_assert!(!check(body.as_bytes()).expect_err("not an object").to_string().contains(&value));
            }
        }

        #[test]
        fn bodies_that_serde_json_parses_are_accepted(body in "[{}\\[\\]\",:0-9a\\\\ ]{0,12}") {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
            if parsed.is_ok() { prop_assert!(check(body.as_bytes()).is_ok(), "{}", body); }
        }
    }
}
