//! The last digits of the telephone numbers of a call, by which people look for a call.

use std::collections::BTreeSet;

use super::fact::{Fact, FactValue, Facts};
use crate::domain::event::Parties;

/// Digits of an end.
pub const END_DIGITS: usize = 4;

/// The ends of all numbers that any event has named for a call, of the caller and of the callee.
///
/// Sources may disagree about a number. So the ends are a superset of those of the numbers that prevail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberEnds(BTreeSet<String>);

impl NumberEnds {
    /// The ends of these texts. A text with fewer than [`END_DIGITS`] digits has none.
    pub fn of<'a>(numbers: impl IntoIterator<Item = &'a str>) -> Self {
        Self(numbers.into_iter().filter_map(end).collect())
    }

    /// The ends of the numbers that a patch names.
    pub(super) fn of_parties(parties: &Parties, facts: &Facts) -> Self {
        let caller = match facts.get(&Fact::FromNumber) {
            Some(FactValue::Text(number)) => Some(number.as_str()),
            _ => None,
        };
        Self::of(parties.to_number.as_deref().into_iter().chain(caller))
    }

    /// The ends as they are stored.
    pub fn stored(ends: impl IntoIterator<Item = String>) -> Self {
        Self(ends.into_iter().collect())
    }

    /// Whether no number is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ends in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The ends of both.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// The last digits of a number. Of an address such as `sip:+15550100@example.com`, the user part counts.
fn end(number: &str) -> Option<String> {
    let user = number.split_once('@').map_or(number, |(user, _host)| user);
    let digits: String = user.chars().filter(char::is_ascii_digit).collect();
    digits.len().checked_sub(END_DIGITS).map(|start| digits[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_the_last_digits_of_a_number_in_any_spelling() {
        for (number, expected) in [
            ("+6580000001", Some("0001")),
            ("+1 (202) 555-01 23", Some("0123")),
            ("sip:+12025550123@10.0.0.99", Some("0123")),
            ("0123", Some("0123")),
            ("123", None),
            ("anonymous", None),
        ] {
            assert_eq!(end(number).as_deref(), expected, "{number}");
        }
    }
}
