//! What a text searched for means. Pure.
//!
//! While numbers are masked, no search may tell a part of a number that the pages do not show: a few searches with one
//! more digit each would reveal every number.

use aftercall_common::phone_numbers::Numbers;

use crate::{
    domain::call::{SUFFIX_DIGITS, digits},
    store::views::{IdPrefix, LastDigits, MAX_KNOWN_REASONS, MAX_REASONS, Search},
};

/// A text with at least this many digits can be a whole telephone number.
const MIN_NUMBER_DIGITS: usize = 7;

/// A telephone number or its last digits if the text can be one, else an id. While numbers are masked, only exactly
/// [`SUFFIX_DIGITS`] digits are a part of a number.
pub fn search(text: &str, numbers: Numbers) -> Option<Search> {
    if text.is_empty() {
        return None;
    }
    let has_plus = text.starts_with('+');
    let is_number =
        text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.'));
    let digits = digits(text);
    let is_part = digits.len() == SUFFIX_DIGITS || numbers == Numbers::Whole;
    if is_number
        && !has_plus
        && is_part
        && let Some(last) = LastDigits::new(text)
    {
        return Some(Search::LastDigits(last));
    }
    Some(if is_number && digits.len() >= MIN_NUMBER_DIGITS {
        Search::Number(vec![format!("+{digits}"), digits])
    } else {
        Search::Id(IdPrefix::new(text, numbers))
    })
}

/// Failure reasons that a text finds.
#[derive(Debug, PartialEq, Eq)]
pub struct Reasons {
    /// The reasons.
    pub found: Vec<String>,
    /// Whether there may be others.
    pub is_partial: bool,
}

/// The reason `text`, and the known reasons that contain it as the pages show them, in upper or lower case. If `text` is
/// a whole known reason, the result has no others, because a link of the overview names exactly one.
pub fn reasons(text: &str, known: &[String], numbers: Numbers) -> Reasons {
    let wanted = text.to_lowercase();
    let shown = known.iter().map(|reason| (reason, numbers.text(reason)));
    let mut found: Vec<_> = shown.filter(|(_, shown)| shown.to_lowercase().contains(&wanted)).collect();
    let is_whole = found.iter().any(|(_, shown)| shown == text);
    if is_whole {
        found.retain(|(_, shown)| shown == text);
    }
    let mut found: Vec<_> = found.into_iter().map(|(reason, _)| reason.clone()).collect();
    // A call may have come since the reasons were read, and not all reasons are read.
    if !is_whole && numbers.text(text) == text {
        found.insert(0, text.to_owned());
    }
    let is_partial = found.len() > MAX_REASONS || (!is_whole && known.len() >= MAX_KNOWN_REASONS);
    found.truncate(MAX_REASONS);
    Reasons { found, is_partial }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_text_is_a_telephone_number_its_last_digits_or_an_id() {
        let number = |digits: &str| Some(Search::Number(vec![format!("+{digits}"), digits.to_owned()]));
        let last = |digits: &str| LastDigits::new(digits).map(Search::LastDigits);
        let id = |id: &str, numbers| Some(Search::Id(IdPrefix::new(id, numbers)));
        #[rustfmt::skip]
        let table = [ // text, search while numbers are masked, search while they are shown. `None`: for an id
            ("+65 8000-0001",  Some(number("6580000001")), Some(number("6580000001"))),
            ("6580000001",     Some(number("6580000001")), Some(last("6580000001"))),
            ("555-0123",       Some(number("5550123")),    Some(last("5550123"))),
            ("50123",          None,                       Some(last("50123"))),
            ("01-23",          Some(last("0123")),         Some(last("0123"))),
            ("+6580",          None,                       None),
            ("CA6580000001",   None,                       None),
            ("123",            None,                       None),
            ("conv_1",         None,                       None),
        ];
        for (text, masked, whole) in table {
            for (numbers, expected) in [(Numbers::Masked, masked), (Numbers::Whole, whole)] {
                assert_eq!(search(text, numbers), expected.unwrap_or_else(|| id(text, numbers)), "{text}");
            }
        }
        assert_eq!(search("", Numbers::Masked), None);
    }

    #[test]
    fn a_reason_matches_exactly_or_as_a_part() {
        let known = ["Busy", "Recipient was busy", "No answer"].map(str::to_owned);
        let found = |text: &str| reasons(text, &known, Numbers::Masked).found;
        assert_eq!(found("busy"), ["busy", "Busy", "Recipient was busy"]);
        assert_eq!(found("Busy"), ["Busy"], "an equal reason is the only result");
        assert_eq!(found("x"), ["x"], "a reason that is not known yet");
    }

    #[test]
    fn a_search_that_leaves_out_reasons_says_so() {
        let known = |n| (0..n).map(|n| format!("reason {n}")).collect::<Vec<_>>();
        #[rustfmt::skip]
        let table = [ // known reasons, text, number of found ones, whether others may match
            (15,                "reason",   16, false),
            (16,                "reason",   16, true),
            (16,                "reason 3", 1,  false),
            (MAX_KNOWN_REASONS, "reason 3", 1,  false),
            (MAX_KNOWN_REASONS, "other",    1,  true),
        ];
        for (n, text, count, is_partial) in table {
            let reasons = reasons(text, &known(n), Numbers::Masked);
            assert_eq!((reasons.found.len(), reasons.is_partial), (count, is_partial), "{n} {text}");
        }
    }

    #[test]
    fn a_masked_number_in_a_reason_cannot_be_guessed() {
        let known = ["no route to 6581234567", "no route to 6589999967"].map(str::to_owned);
        let found = |text: &str, numbers| {
            let found = reasons(text, &known, numbers).found;
            found.iter().filter(|reason| known.contains(reason)).count()
        };
        #[rustfmt::skip]
        let table = [ // text, found while numbers are masked, found while they are shown
            ("no route to",             2, 2),
            ("no route to 658•••••67",  2, 0),
            ("658•",                    2, 0),
            ("6581",                    0, 1),
            ("4567",                    0, 1),
            ("no route to 6581234567",  0, 1),
        ];
        for (text, masked, whole) in table {
            assert_eq!(
                (found(text, Numbers::Masked), found(text, Numbers::Whole)),
                (masked, whole),
                "{text}"
            );
        }
    }
}
