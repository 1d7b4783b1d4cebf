//! The lengths of calls that a filter selects, in URLs and on pages. Pure.

use crate::store::views::Length;

/// The lengths that the form offers, in seconds: from, below, name on the page.
const OFFERED: [(u32, Option<u32>, &str); 4] = [
    (0, Some(10), "under 10 s"),
    (10, Some(60), "10 s to 1 min"),
    (60, Some(300), "1 to 5 min"),
    (300, None, "over 5 min"),
];

/// The lengths that the form offers.
pub fn offered() -> impl Iterator<Item = Length> {
    OFFERED.into_iter().map(|(from, below, _)| Length { from, below })
}

/// Reads `10-60`: from 10 s, shorter than 60 s. Each of the two may be missing, but not both. `None`: another text.
pub fn read(text: &str) -> Option<Length> {
    if !text.chars().all(|c| c.is_ascii_digit() || c == '-') {
        return None; // The parser of numbers takes a plus sign.
    }
    let (from, below) = text.split_once('-')?;
    let seconds = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    let length = Length { from: seconds(from)?.unwrap_or(0), below: seconds(below)? };
    let is_any = length == Length::default();
    (!is_any && length.below.is_none_or(|below| below > length.from)).then_some(length)
}

/// The text in the URL, which [`read`] reads.
pub fn text(length: Length) -> String {
    let from = if length.from == 0 { String::new() } else { length.from.to_string() };
    format!("{from}-{}", length.below.map(|below| below.to_string()).unwrap_or_default())
}

/// The name on the page.
pub fn name(length: Length) -> String {
    let offered = OFFERED.iter().find(|(from, below, _)| (*from, *below) == (length.from, length.below));
    match (offered, length.from, length.below) {
        (Some((.., name)), ..) => (*name).to_owned(),
        (None, from, None) => format!("{from} s and longer"),
        (None, 0, Some(below)) => format!("under {below} s"),
        (None, from, Some(below)) => format!("{from} s to {below} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_one_text_and_a_name() {
        #[rustfmt::skip]
        let table = [ // text, text in the address, name
            ("-10",    Some(("-10",   "under 10 s"))),
            ("0-10",   Some(("-10",   "under 10 s"))),
            ("10-60",  Some(("10-60", "10 s to 1 min"))),
            ("010-060", Some(("10-60", "10 s to 1 min"))),
            ("300-",   Some(("300-",  "over 5 min"))),
            ("20-",    Some(("20-",   "20 s and longer"))),
            ("-7",     Some(("-7",    "under 7 s"))),
            ("20-90",  Some(("20-90", "20 s to 90 s"))),
            ("+10-60", None), ("60-60", None), ("90-20", None), ("0-0", None), ("-", None), ("0-", None), ("", None), ("10", None),
            ("10-x", None), ("1-2-3", None), ("99999999999-", None),
        ];
        for (given, expected) in table {
            let length = read(given);
            let shown = length.map(|length| (text(length), name(length)));
            let expected = expected.map(|(text, name)| (text.to_owned(), name.to_owned()));
            assert_eq!(shown, expected, "{given}");
            assert_eq!(length.and_then(|length| read(&text(length))), length, "{given}");
        }
        assert!(offered().all(|length| read(&text(length)) == Some(length)));
    }
}
