//! Bounds of the texts that are listed or indexed. The payload of an event keeps the whole texts.

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

/// The text with at most `most` characters. A longer text is cut and ends in `…`.
pub fn cut(text: &str, most: usize) -> String {
    // A text has at least as many bytes as characters.
    if text.len() <= most || text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(end, _)| end);
    let mut short = String::with_capacity(end + CUT_MARK.len_utf8());
    short.push_str(&text[..end]);
    short.push(CUT_MARK);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

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
