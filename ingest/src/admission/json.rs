//! Checks that a body is exactly one JSON object within the bounds of [`measure`], without building it.
//!
//! Invariants: the check uses no stack and one bit of memory for each level of nesting (`serde_json` skips
//! values in a loop); its messages repeat nothing of the body. A byte order mark before the object is passed over.

use std::{fmt, io::BufReader, str};

use aftercall_common::json::{
    BYTE_ORDER_MARK,
    measure::{LIMITS, TooComplex, measure},
};
use bytes::Bytes;
use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::error::Category;

use super::body::pieces::PiecesReader;

/// Why a body was not accepted as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// It is not one JSON object. A sentence with line and column, without any of the body's content.
    #[error("{0}")]
    Invalid(String),
    /// It has more values, or deeper nesting, than is accepted.
    #[error(transparent)]
    TooComplex(#[from] TooComplex),
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
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| complaint(&error))
}

/// Checks a body in several pieces, without joining them.
///
/// # Errors
/// As of [`check`].
pub fn check_pieces(pieces: &[Bytes]) -> Result<(), JsonError> {
    if let [only] = pieces {
        return check(only);
    }
    measure(pieces.iter().map(|piece| &piece[..]), LIMITS)?;
    check_utf8(pieces)?;
    let mut reader = PiecesReader::new(pieces);
    reader.pass_over_mark();
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| complaint(&error))
}

/// The reader of `serde_json` does not look at the text it skips. A character may lie across pieces.
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

fn complaint(error: &serde_json::Error) -> JsonError {
    JsonError::Invalid(match error.classify() {
        // These are fixed phrases of serde_json. A data error would name the value it found.
        Category::Syntax | Category::Eof | Category::Io => format!("the body is not valid JSON: {error}"),
        Category::Data => {
            format!("the body must be one JSON object at line {} column {}", error.line(), error.column())
        }
    })
}

/// Line and column of the byte after `before`, both from 1.
fn position(before: &[u8]) -> (usize, usize) {
    let line = before.split(|&byte| byte == b'\n').count();
    let column = before.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
    (line, column)
}

/// Accepts an object with whatever in it, and nothing else.
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
    fn one_object_and_nothing_else() {
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
    fn a_body_with_too_many_values_or_levels_is_too_complex_however_it_is_cut() {
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
    fn a_byte_order_mark_may_lie_across_pieces() {
        let body = Bytes::from("\u{feff}{\"a\":1}");
        for cut in 0..body.len() {
            assert_eq!(check_pieces(&[body.slice(..cut), body.slice(cut..)]), Ok(()), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(text in "\\{\"a\":(\"[a-zé新😀]{0,20}\"|1|\\[)\\}?", at in prop::collection::vec(0..40usize, 1..4), flip: bool) {
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
        fn anything_has_an_answer_that_repeats_nothing(body: Vec<u8>, value in "[a-z]{12}") {
            let _any = check(&body);
            for body in [format!("{{\"{value}\":{value}}}"), format!("\"{value}\""), value.clone()] {
                prop_assert!(!check(body.as_bytes()).expect_err("not an object").to_string().contains(&value));
            }
        }

        #[test]
        fn it_agrees_with_the_parser(body in "[{}\\[\\]\",:0-9a\\\\ ]{0,12}") {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
            if parsed.is_ok() { prop_assert!(check(body.as_bytes()).is_ok(), "{}", body); }
        }
    }
}
