//! The condition that the number of the caller or of the callee ends with given digits. Pure.

use mongodb::bson::{Document, doc};

use crate::domain::call::{SUFFIX_DIGITS, digits};

/// The digits with which a telephone number has to end: at least [`SUFFIX_DIGITS`] digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDigits(String);

impl LastDigits {
    /// The digits of `text`. `None` if they are too few.
    ///
    /// Leading zeros are removed as long as [`SUFFIX_DIGITS`] digits remain: people write 0171 for +49171, and the
    /// stored number has no such zero.
    pub fn new(text: &str) -> Option<Self> {
        let digits = digits(text);
        let removable = digits.len().checked_sub(SUFFIX_DIGITS)?;
        let zeros = digits.bytes().take(removable).take_while(|digit| *digit == b'0').count();
        Some(Self(digits[zeros..].to_owned()))
    }

    /// The last [`SUFFIX_DIGITS`] digits. The index has only these.
    pub(super) fn suffix(&self) -> &str {
        &self.0[self.0.len() - SUFFIX_DIGITS..]
    }

    /// Whether the index alone cannot decide, because there are more than [`SUFFIX_DIGITS`] digits.
    pub(super) fn is_beyond_index(&self) -> bool {
        self.0.len() > SUFFIX_DIGITS
    }

    /// Whether `number` ends with the digits.
    pub(super) fn is_end_of(&self, number: &str) -> bool {
        digits(number).ends_with(&self.0)
    }

    /// The condition as a query.
    pub(super) fn query(&self) -> Document {
        let ends = doc! { "$regex": self.pattern() };
        doc! { "$or": [{ "toNumber": &ends }, { "fromNumber": ends }] }
    }

    /// The condition as an expression.
    pub(super) fn expression(&self) -> Document {
        let ends = |number: &str| doc! { "$regexMatch": { "input": number, "regex": self.pattern() } };
        doc! { "$or": [ends("$toNumber"), ends("$fromNumber")] }
    }

    /// A regular expression. It matches a number in any spelling that ends with the digits. Of an address such as
    /// `sip:+15550100@example.com`, only the part before `@` counts.
    fn pattern(&self) -> String {
        let digits: Vec<_> = self.0.chars().map(String::from).collect();
        format!("^[^@]*{}[^0-9@]*(@.*)?$", digits.join("[^0-9@]*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_found_at_the_end_of_a_number_in_any_spelling() {
        #[rustfmt::skip]
        let table = [ // text, digits, a number, whether it is found
            ("0123",         Some("0123"),      "+1 (202) 555-0123",     true),
            ("0123",         Some("0123"),      "+12025550124",          false),
            ("0171 5550123", Some("1715550123"), "+491715550123",        true),
            ("555-0123",     Some("5550123"),   "sip:+12025550123@1.99", true),
            ("000001",       Some("0001"),      "+6580000001",           true),
            ("123",          None,              "",                      false),
        ];
        for (text, digits, number, is_found) in table {
            let found = LastDigits::new(text);
            assert_eq!(found.as_ref().map(|digits| digits.0.as_str()), digits, "{text}");
            assert_eq!(found.is_some_and(|digits| digits.is_end_of(number)), is_found, "{text}");
        }
    }
}
