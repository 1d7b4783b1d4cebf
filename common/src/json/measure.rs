//! Counts the values and the depth of JSON without parsing it into memory.
//!
//! Parsed JSON needs a multiple of the memory of its text: 20 MiB of `[],[],…` become gigabytes. Gateway and
//! worker therefore check a body before they parse it.
//!
//! Invariants:
//! - One pass over the bytes, in constant memory.
//! - The counts are exact for valid JSON. For other bytes the counts are meaningless, and the parser refuses
//!   the bytes.

use memchr::memchr2;

/// Bounds of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of values: objects, arrays, strings, numbers and literals. Names of members do not
    /// count.
    pub values: usize,
    /// Maximum depth of nesting. `[]` has a depth of 1.
    pub depth: usize,
}

/// The bounds of JSON from senders and from the API of the provider. The transcript of an hour has about
/// 20,000 values and a depth below 10.
pub const LIMITS: Limits = Limits { values: 250_000, depth: 1_000 };

/// A JSON text exceeds its [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooComplex {
    /// The text has more values than this limit.
    #[error("the JSON has more than {0} values")]
    Values(usize),
    /// The text is nested deeper than this limit.
    #[error("the JSON is nested deeper than {0} levels")]
    Depth(usize),
}

/// Checks the text in `pieces` against `limits`. Strings, escapes and numbers may span several pieces.
///
/// # Errors
/// The limit that the text exceeds.
pub fn measure<'a, P>(pieces: P, limits: Limits) -> Result<(), TooComplex>
where
    P: IntoIterator<Item = &'a [u8], IntoIter: Clone>,
{
    let mut pieces = pieces.into_iter();
    // A text has at most as many values and levels as bytes, so a short one needs no scan.
    let bytes: usize = pieces.clone().map(<[u8]>::len).sum();
    if bytes <= limits.values.min(limits.depth) {
        return Ok(());
    }
    let mut scan = Scan { limits, values: 0, depth: 0, at: Position::Outside };
    pieces.try_for_each(|piece| scan.read(piece))
}

/// Context of the next byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Outside of strings, numbers and literals.
    Outside,
    /// In a number or a literal.
    Token,
    /// In a string.
    String,
    /// In a string, after a backslash.
    Escape,
}

struct Scan {
    limits: Limits,
    values: usize,
    depth: usize,
    at: Position,
}

impl Scan {
    fn read(&mut self, piece: &[u8]) -> Result<(), TooComplex> {
        let mut rest = piece;
        loop {
            match self.at {
                Position::String => {
                    // A large body consists mostly of strings, so they are searched many bytes at a time.
                    let Some(end) = memchr2(b'"', b'\\', rest) else { return Ok(()) };
                    self.at = if rest[end] == b'"' { Position::Outside } else { Position::Escape };
                    rest = &rest[end + 1..];
                }
                Position::Escape => {
                    let Some((_, after)) = rest.split_first() else { return Ok(()) };
                    (self.at, rest) = (Position::String, after);
                }
                Position::Outside | Position::Token => {
                    let Some((&byte, after)) = rest.split_first() else { return Ok(()) };
                    rest = after;
                    self.structure(byte)?;
                }
            }
        }
    }

    /// Processes a byte outside of strings.
    fn structure(&mut self, byte: u8) -> Result<(), TooComplex> {
        match byte {
            b'"' => {
                self.at = Position::String;
                return self.count();
            }
            b'{' | b'[' => {
                self.at = Position::Outside;
                self.depth += 1;
                if self.depth > self.limits.depth {
                    return Err(TooComplex::Depth(self.limits.depth));
                }
                return self.count();
            }
            b'}' | b']' => {
                self.at = Position::Outside;
                self.depth = self.depth.saturating_sub(1);
            }
            // The previous string was the name of a member.
            b':' => {
                self.at = Position::Outside;
                self.values = self.values.saturating_sub(1);
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' => self.at = Position::Outside,
            _ if self.at == Position::Outside => {
                self.at = Position::Token;
                return self.count();
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), TooComplex> {
        self.values += 1;
        // The name of a member counts as a value until its colon is read. The value takes its place in the count, so a name
        // alone never exceeds the limit.
        if self.values > self.limits.values { Err(TooComplex::Values(self.limits.values)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest limits that accept `text`. Checks that every split into two pieces gives the same result.
    fn measured(text: &[u8]) -> Limits {
        let fits = |values, depth, cut: usize| {
            let (first, second) = text.split_at(cut);
            measure([first, second], Limits { values, depth })
        };
        let values = (0..99).find(|&values| fits(values, 99, 0).is_ok()).unwrap();
        let depth = (0..99).find(|&depth| fits(999, depth, 0).is_ok()).unwrap();
        for cut in 0..=text.len() {
            assert_eq!(fits(values, depth, cut), Ok(()), "cut at {cut}");
            assert!(values == 0 || fits(values - 1, depth, cut) == Err(TooComplex::Values(values - 1)));
            assert!(depth == 0 || fits(values, depth - 1, cut) == Err(TooComplex::Depth(depth - 1)));
        }
        Limits { values, depth }
    }

    #[test]
    fn values_and_depth_are_exact_for_every_split_of_the_text() {
        #[rustfmt::skip]
        let table: [(&str, usize, usize); 12] = [
            ("",                                        0, 0),
            ("null",                                    1, 0),
            (" -1.5e+3 ",                               1, 0),
            ("{}",                                      1, 1),
            ("[]",                                      1, 1),
            ("[1,2 , true,false\t,null]",               6, 1),
            (r#"{"a":1,"b":"c"}"#,                      3, 1),
            (r#"{"a":{"b":[[],{}]}}"#,                  5, 4),
            (r#"{"a":"[[[{{{,,,:::"}"#,                 2, 1),
            (r#"["\"[","\\","\\\"]","\u005b["]"#,       5, 1),
            (r"[[],[],[]]",                           4, 2),
            (r#"{"a:b":"c:d","é":"新,[😀"}"#,            3, 1),
        ];
        for (text, values, depth) in table {
            assert_eq!(measured(text.as_bytes()), Limits { values, depth }, "{text}");
        }
    }

    #[test]
    fn count_equals_the_count_of_the_parsed_value() {
        fn count(value: &serde_json::Value) -> usize {
            1 + match value {
                serde_json::Value::Array(items) => items.iter().map(count).sum(),
                serde_json::Value::Object(members) => members.values().map(count).sum(),
                _ => 0,
            }
        }
        let text = r#" {"a":[{"b":"\"","c\\":[0.1,-2e5,"x, y"]},null,[[ [ ]]],"{"],"d" : {"e":true}} "#;
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(measured(text.as_bytes()).values, count(&value));
    }

    #[test]
    fn many_values_and_deep_nesting_are_too_complex_and_a_long_text_is_not() {
        let body = format!("[{}0]", "[],".repeat(7_000_000));
        assert_eq!(measure([body.as_bytes()], LIMITS), Err(TooComplex::Values(250_000)));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(measure([nested(1000).as_bytes()], LIMITS), Ok(()));
        assert_eq!(measure([nested(1001).as_bytes()], LIMITS), Err(TooComplex::Depth(1000)));
        let text = format!("{{\"a\":\"{}\"}}", "[".repeat(20_000_000));
        assert_eq!(measure([text.as_bytes()], LIMITS), Ok(()), "a long text is one value");
    }
}
