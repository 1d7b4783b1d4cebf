//! Texts of senders that are listed or indexed are cut to a bound. The payload itself stays whole.

/// Most characters of a reason: of a failure, or why there is no transcript.
pub const MAX_REASON: usize = 1000;
/// Most characters of a number, a name or an id of a party.
pub const MAX_PARTY: usize = 256;
/// Most characters of a word: an event type, a status, a verdict on who answered.
pub const MAX_WORD: usize = 64;

/// The mark of a text that was cut. It counts as one of its characters.
const CUT: char = '…';

/// The text with at most `most` characters; a longer one ends in `…`.
pub fn cut(text: &str, most: usize) -> String {
    // A text has at least as many bytes as characters.
    if text.len() <= most || text.char_indices().nth(most).is_none() {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(0, |(end, _)| end);
    let mut short = String::with_capacity(end + CUT.len_utf8());
    short.push_str(&text[..end]);
    short.push(CUT);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character_and_marked() {
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
