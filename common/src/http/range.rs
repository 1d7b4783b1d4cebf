//! The `Range` header (RFC 9110, section 14). Pure.

/// The part of a body that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole body. The header is ignored, because it names another unit, names several ranges or is invalid (`5-2`).
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// No byte of the body is in the range.
    Unsatisfiable,
}

impl ByteRange {
    /// Reads the range that `header` asks for in a body of `length` bytes.
    pub fn read(header: &str, length: u64) -> Self {
        let range = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
        let Some((from, to)) = range.and_then(|(_, range)| range.trim().split_once('-')) else {
            return Self::Whole;
        };
        match (number(from), number(to)) {
            (Some(from), Some(to)) if to < from => Self::Whole,
            (Some(_), None) if !to.is_empty() => Self::Whole,
            (Some(from), _) if from >= length => Self::Unsatisfiable,
            (Some(from), last) => Self::Part(from, last.map_or(length - 1, |last| last.min(length - 1))),
            (None, Some(0)) if from.is_empty() => Self::Unsatisfiable,
            (None, Some(_)) if from.is_empty() && length == 0 => Self::Unsatisfiable,
            (None, Some(count)) if from.is_empty() => Self::Part(length.saturating_sub(count), length - 1),
            _ => Self::Whole,
        }
    }
}

/// Reads a number without a sign. One above `u64::MAX` becomes `u64::MAX`.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::ByteRange::{self, Part, Unsatisfiable, Whole};

    #[test]
    fn a_range_header_selects_the_bytes_it_names() {
        #[rustfmt::skip]
        let table = [
            ("bytes=0-",      Part(0, 99)),
            ("Bytes= 0-1",    Part(0, 1)),
            ("bytes=10-19",   Part(10, 19)),
            ("bytes=90-500",  Part(90, 99)),
            ("bytes=90-99999999999999999999999", Part(90, 99)),
            ("bytes=-10",     Part(90, 99)),
            ("bytes=-500",    Part(0, 99)),
            ("bytes=100-",    Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0",      Unsatisfiable),
            ("bytes=5-2",     Whole),
            ("bytes=200-5",   Whole),
            ("bytes=100-x",   Whole),
            ("bytes=150-160,0-9", Whole),
            ("bytes=+5-9",    Whole),
            ("bytes=-",       Whole),
            ("bytes=0-1,5-6", Whole),
            ("lines=1-2",     Whole),
            ("bytes=a-b",     Whole),
            ("bytes",         Whole),
        ];
        for (header, expected) in table {
            assert_eq!(ByteRange::read(header, 100), expected, "{header}");
        }
        for header in ["bytes=0-", "bytes=-5"] {
            assert_eq!(ByteRange::read(header, 0), Unsatisfiable, "{header} of an empty content");
        }
    }
}
