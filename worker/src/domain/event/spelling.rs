//! One spelling for words that senders spell in several ways.

use crate::domain::text::MAX_WORD;

/// The word in lower case, without white space around it and without the separators `-`, `_`, `.` and blank:
/// `Call.No-Answer ` and `call.no_answer` both become `callnoanswer`.
pub(super) fn normalize(word: &str) -> String {
    // No known word is longer.
    let word = word.trim().chars().take(MAX_WORD);
    word.filter(|c| !matches!(c, '-' | '_' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_separators_and_white_space_make_no_difference() {
        for word in ["call.no_answer", " Call.No-Answer\n", "CALL NO ANSWER", "call.noAnswer"] {
            assert_eq!(normalize(word), "callnoanswer", "{word}");
        }
        assert_ne!(normalize("call,no_answer"), "callnoanswer");
        assert_eq!(normalize(&"x".repeat(10_000_000)).len(), MAX_WORD);
    }
}
