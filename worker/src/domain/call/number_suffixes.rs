//! The last digits of the telephone numbers of a call, by which people look for a call.

use std::collections::BTreeSet;

use super::fact::{Fact, FactValue, Facts};
use crate::domain::event::Parties;

/// Digits of an end.
pub const SUFFIX_DIGITS: usize = 4;

/// The suffixes of all numbers that any event has named for a call, of the caller and of the callee.
///
/// Sources may disagree about a number. So the suffixes are a superset of those of the numbers that prevail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSuffixes(BTreeSet<String>);

impl NumberSuffixes {
    /// The suffixes of these texts. A text with fewer than [`SUFFIX_DIGITS`] digits has none.
    pub fn of<'a>(numbers: impl IntoIterator<Item = &'a str>) -> Self {
        Self(numbers.into_iter().filter_map(suffix).collect())
    }

    /// The suffixes of the numbers that a patch names.
    pub(super) fn of_parties(parties: &Parties, facts: &Facts) -> Self {
        let caller = match facts.get(&Fact::FromNumber) {
            Some(FactValue::Text(number)) => Some(number.as_str()),
            _ => None,
        };
        Self::of(parties.to_number.as_deref().into_iter().chain(caller))
    }

    /// The suffixes as they are stored.
    pub fn stored(suffixes: impl IntoIterator<Item = String>) -> Self {
        Self(suffixes.into_iter().collect())
    }

    /// Whether no number is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The suffixes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The suffixes of both.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// The last digits of a number.
fn suffix(number: &str) -> Option<String> {
    let digits = digits(number);
    digits.len().checked_sub(SUFFIX_DIGITS).map(|start| digits[start..].to_owned())
}

/// The digits of a number in any spelling. Of an address such as `sip:+15550100@example.com`, only the user part counts.
pub fn digits(number: &str) -> String {
    let user = number.split_once('@').map_or(number, |(user, _host)| user);
    user.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_the_last_digits_of_a_number_in_any_spelling() {
        for (number, expected) in [
            ("+6580000001", Some("0001")),
            ("+1 (202) 555-01 23", Some("0123")),
            ("sip:+12025550123@10.0.0.99", Some("0123")),
            ("0123", Some("0123")),
            ("123", None),
            ("anonymous", None),
        ] {
            assert_eq!(suffix(number).as_deref(), expected, "{number}");
        }
    }
}
