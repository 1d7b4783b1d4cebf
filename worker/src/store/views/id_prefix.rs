//! The beginning of an id. Pure.

use aftercall_common::phone_numbers::Numbers;

/// The beginning of an id. While telephone numbers are masked, it finds no id of which it has a part of a number:
/// otherwise a few searches with one more digit each would reveal the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    text: String,
    numbers: Numbers,
}

impl IdPrefix {
    /// The beginning `text` of ids whose numbers are shown like this.
    pub fn new(text: &str, numbers: Numbers) -> Self {
        Self { text: text.to_owned(), numbers }
    }

    /// The characters.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it finds `id`.
    pub(super) fn finds(&self, id: &str) -> bool {
        id.starts_with(&self.text) && !self.numbers.splits_id(id, self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_masked_number_finds_no_id() {
        #[rustfmt::skip]
        let table = [ // beginning, found while numbers are masked, found while they are shown
            ("CA",                true,  true),
            ("CA+",               false, true),
            ("CA+6",              false, true),
            ("CA+658123456",      false, true),
            ("CA+6581234567",     true,  true),
            ("CA+6581234568",     false, false),
        ];
        for (text, masked, whole) in table {
            let finds = |numbers| IdPrefix::new(text, numbers).finds("CA+6581234567");
            assert_eq!((finds(Numbers::Masked), finds(Numbers::Whole)), (masked, whole), "{text}");
        }
        assert!(
            IdPrefix::new("CA65812", Numbers::Masked).finds("CA6581234567"),
            "these digits are an identifier"
        );
    }
}
