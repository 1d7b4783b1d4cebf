//! Bounds of the texts that are listed or indexed. The payload of an event keeps the whole texts.

use aftercall_common::phone_numbers;

/// Most characters of a reason: why a call failed, or why it has no transcript.
pub const MAX_REASON: usize = 1000;
/// Most characters of a number, a name or an id of agent or callee.
pub const MAX_PARTY: usize = 256;
/// Most characters of a word: an event type, a status, the kind of party that answered.
pub const MAX_WORD: usize = 64;

/// Most characters of a summary of a conversation.
pub const MAX_SUMMARY: usize = 4000;

/// The last character of a text that was cut.
const CUT_MARK: char = '…';

/// Bytes before and after the end of a cut text in which a telephone number is looked for: more than a number has.
const AROUND_END: usize = 128;

/// The text with at most `most` characters. A longer text is cut and ends in `…`. A telephone number is left out and not
/// cut, because nothing masks a part of a number.
pub fn cut(text: &str, most: usize) -> String {
    // A text has at least as many bytes as characters.
    if text.len() <= most || text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(end, _)| end);
    let end = outside_number(text, end);
    let mut short = String::with_capacity(end + CUT_MARK.len_utf8());
    short.push_str(&text[..end]);
    short.push(CUT_MARK);
    short
}

/// The position `end` in `text`, or the begin of the telephone number in which it is.
fn outside_number(text: &str, end: usize) -> usize {
    let from = text.floor_char_boundary(end.saturating_sub(AROUND_END));
    let around = &text[from..text.ceil_char_boundary(end.saturating_add(AROUND_END).min(text.len()))];
    let mut numbers =
        phone_numbers::find(around).map(|found| found.range.start + from..found.range.end + from);
    numbers.find(|number| number.start < end && end < number.end).map_or(end, |number| number.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telephone_number_is_not_cut() {
        #[rustfmt::skip]
        let table = [
            ("to +6581234567 now", 14, "to …"),
            ("to +6581234567 now", 15, "to +6581234567…"),
            ("to +6581234567",     8,  "to …"),
            ("to 65 8123 4567",    8,  "to …"),
            ("to CA6581234567",    8,  "to CA65…"),
        ];
        for (text, most, expected) in table {
            assert_eq!(cut(text, most), expected, "{text}");
        }
        let long = format!("{} +6581234567 {}", "電".repeat(990), "x".repeat(500));
        assert_eq!(cut(&long, MAX_REASON), format!("{} …", "電".repeat(990)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_marked() {
        #[rustfmt::skip]
        let table = [
            ("",         3, ""),
            ("abc",      3, "abc"),
            ("abcd",     3, "ab…"),
            ("電話番号", 4, "電話番号"),
            ("電話番号", 3, "電話…"),
            ("é😀é😀",   1, "…"),
        ];
        for (text, most, expected) in table {
            assert_eq!(cut(text, most), expected);
            assert!(cut(text, most).chars().count() <= most);
        }
    }
}
