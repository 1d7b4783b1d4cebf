//! Searches a text for one telephone number in any notation.

use super::symbol;

/// Maximum number of symbols between two digits of a number.
const GAP: usize = 4;
/// Minimum number of digits of a national form.
const MIN_NATIONAL_DIGITS: usize = 7;

/// A number to search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The digits of the number, and optionally the shorter endings that may be its national forms.
    forms: Vec<String>,
}

impl Wanted {
    /// The number with these digits. `national`: also matches forms without the country code or the area
    /// code.
    pub fn new(digits: &str, national: bool) -> Self {
        // `00` is the prefix for international calls, `0` the prefix for national ones.
        let digits = digits.trim_start_matches('0');
        let shortest = if national { MIN_NATIONAL_DIGITS.min(digits.len()) } else { digits.len() };
        let forms = (0..=digits.len() - shortest).map(|cut| digits[cut..].trim_start_matches('0').to_owned());
        Self { forms: forms.filter(|form| !form.is_empty() && form.len() >= shortest).collect() }
    }

    /// Whether `text` contains the number, and not only as a part of a longer number.
    pub fn is_in(&self, text: &str) -> bool {
        let (mut at, mut after_digit) = (0, false);
        while let Some((symbol, length)) = symbol::at(text, at) {
            if symbol.is_ascii_digit() && !after_digit && self.begins(text, at) {
                return true;
            }
            after_digit = symbol.is_ascii_digit();
            at += length;
        }
        false
    }

    /// Whether a form of the number begins at the digit at `at`.
    fn begins(&self, text: &str, mut at: usize) -> bool {
        for _ in 0..=2 {
            if self.forms.iter().any(|form| matches(form, text, at)) {
                return true;
            }
            let Some(('0', length)) = symbol::at(text, at) else { return false };
            let Some(next) = next_digit(text, at + length) else { return false };
            at = next;
        }
        false
    }
}

/// Whether the digits of `form` are at `at`, without a further digit directly after them.
fn matches(form: &str, text: &str, mut at: usize) -> bool {
    for (n, digit) in form.chars().enumerate() {
        if n > 0 {
            let Some(next) = next_digit(text, at) else { return false };
            at = next;
        }
        match symbol::at(text, at) {
            Some((symbol, length)) if symbol == digit => at += length,
            _ => return false,
        }
    }
    !symbol::at(text, at).is_some_and(|(symbol, _)| symbol.is_ascii_digit())
}

/// Position of the next digit, after separators and after the `(0)` of `+44 (0)20 …`.
fn next_digit(text: &str, mut at: usize) -> Option<usize> {
    let mut gap = 0;
    loop {
        let (symbol, length) = symbol::at(text, at)?;
        if symbol.is_ascii_digit() {
            return Some(at);
        }
        gap += 1;
        if gap > GAP || !" -./()+".contains(symbol) {
            return None;
        }
        at += length;
        if symbol == '('
            && let Some(('0', zero)) = symbol::at(text, at)
            && let Some((')', bracket)) = symbol::at(text, at + zero)
        {
            at += zero + bracket;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_found_in_each_notation_and_not_within_longer_numbers() {
        let wanted = Wanted::new("12025550100", false);
        #[rustfmt::skip]
        let table = [
            (r#"{"to_number":"+12025550100"}"#,          true),
            ("To=%2B12025550100&From=x",                 true),
            ("To=%2B1%20202%20555%200100",               true),
            (r#"{"n":12025550100}"#,                     true),
            (r#"{"n":"\u002b1202\u0035550100"}"#,        true),
            ("+1 (202) 555-0100",                        true),
            ("+1 - 202 - 555.0100",                      true),
            ("0012025550100",                            true),
            ("sip:12025550100@host",                     true),
            ("1 2 0 2 5 5 5 0 1 0 0",                    true),
            ("7 12025550100",                            true),
            ("12025550101 12025550100",                  true),
            ("+120255501001",                            false),
            ("912025550100",                             false),
            ("+12025550101",                             false),
            ("2025550100",                               false),
            ("",                                         false),
        ];
        for (text, expected) in table {
            assert_eq!(wanted.is_in(text), expected, "{text}");
        }
        assert!(Wanted::new("442079460958", false).is_in("+44 (0)20 7946 0958"));
    }

    #[test]
    fn national_forms_are_found_only_if_requested() {
        for (text, expected) in [
            ("08123 4567", true),
            ("8123-4567", true),
            ("65 8123 4567", true),
            ("123 4567", true),
            ("234567", false),
            ("7123 4567", false),
        ] {
            assert_eq!(Wanted::new("6581234567", true).is_in(text), expected, "{text}");
        }
        assert!(!Wanted::new("6581234567", false).is_in("08123 4567"));
    }
}
