//! Whether a body is exactly one JSON object, checked without building it.
//!
//! Invariants: the check uses no stack and one bit of memory a nesting level (`serde_json` skips
//! values in a loop), so depth is bounded by the size of the body; and what it says about a bad
//! body repeats nothing of it.

use std::{
    fmt,
    io::{self, BufReader},
    str,
};

use bytes::Bytes;
use serde::{
    Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::error::Category;

/// Checks `body`.
///
/// # Errors
/// A sentence with line and column, without any of the body's content.
pub fn check(body: &[u8]) -> Result<(), String> {
    let text = str::from_utf8(body).map_err(|error| {
        let (line, column) = position(&body[..error.valid_up_to()]);
        format!("the body is not UTF-8 at line {line} column {column}")
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| complaint(&error))
}

/// Checks a body in several pieces, without joining them.
///
/// # Errors
/// As of [`check`].
pub fn check_pieces(pieces: &[Bytes]) -> Result<(), String> {
    if let [only] = pieces {
        return check(only);
    }
    check_utf8(pieces)?;
    let mut json =
        serde_json::Deserializer::from_reader(BufReader::new(Reader { current: &[], rest: pieces.iter() }));
    json.deserialize_any(Object).and_then(|()| json.end()).map_err(|error| complaint(&error))
}

/// The reader of `serde_json` does not look at the text it skips. A character may lie across pieces.
fn check_utf8(pieces: &[Bytes]) -> Result<(), String> {
    let wrong = || "the body is not UTF-8".to_owned();
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

/// Reads pieces one after the other.
struct Reader<'a> {
    current: &'a [u8],
    rest: std::slice::Iter<'a, Bytes>,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.current = next;
        }
        self.current.read(buffer)
    }
}

fn complaint(error: &serde_json::Error) -> String {
    match error.classify() {
        // These are fixed phrases of serde_json. A data error would name the value it found.
        Category::Syntax | Category::Eof | Category::Io => format!("the body is not valid JSON: {error}"),
        Category::Data => {
            format!("the body must be one JSON object at line {} column {}", error.line(), error.column())
        }
    }
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
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        for body in [
            "{}",
            " {\"a\":[1,{\"b\":null}]}\n",
            "{\"a\":1,\"a\":2}",
            "{\"n\":1e999}",
            "{\"é\":\"新\"}",
            &deep,
        ] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{}", &body[..20.min(body.len())]);
        }
        #[rustfmt::skip]
        let table: [(&[u8], &str); 16] = [
            (b"",                    "EOF while parsing a value at line 1 column 0"),
            (b"  \n ",               "EOF while parsing a value at line 2 column 1"),
            (b"{\"a\":1",            "EOF while parsing an object at line 1 column 6"),
            (b"{\"a\":1}\n{}",       "trailing characters at line 2 column 1"),
            (b"{\"a\":1}}",          "trailing characters at line 1 column 8"),
            (b"{\n\"a\":secret}",    "expected value at line 2 column 5"),
            (b"{'a':1}",             "key must be a string at line 1 column 2"),
            (b"{\"a\":NaN}",         "expected value at line 1 column 6"),
            (b"call_id=1",           "expected value at line 1 column 1"),
            (b"\xEF\xBB\xBF{}",      "expected value at line 1 column 1"),
            (b"[]",                  "must be one JSON object at line 1"),
            (b"\"secret\"",          "must be one JSON object at line 1"),
            (b"424242",              "must be one JSON object at line 1"),
            (b"null",                "must be one JSON object at line 1"),
            (b"true",                "must be one JSON object at line 1"),
            (b"{\"a\":\n\"b\xff\"}", "not UTF-8 at line 2 column 3"),
        ];
        for (body, expected) in table {
            let found = check(body).expect_err(expected);
            assert!(found.contains(expected), "{found} / {expected}");
            assert!(!found.contains("secret") && !found.contains("424242"), "{found}");
        }
        assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
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
                prop_assert!(!check(body.as_bytes()).expect_err("not an object").contains(&value));
            }
        }

        #[test]
        fn it_agrees_with_the_parser(body in "[{}\\[\\]\",:0-9a\\\\ ]{0,12}") {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
            if parsed.is_ok() { prop_assert!(check(body.as_bytes()).is_ok(), "{}", body); }
        }
    }
}
