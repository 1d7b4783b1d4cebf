//! Telephone numbers, hidden but for their ends. Pure.

use std::borrow::Cow;

use serde_json::Value;

/// Whether numbers are shown whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    Whole,
    /// The country and the last two digits.
    Masked,
}

/// Fewest and most digits of what is taken for a number (E.164 has at most 15).
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

impl Numbers {
    /// A number by itself.
    pub fn number(self, number: &str) -> Cow<'_, str> {
        match self {
            Self::Whole => number.into(),
            Self::Masked => masked(number).into(),
        }
    }

    /// A text in which there may be numbers: `+` with digits anywhere, or digits and nothing else.
    pub fn text(self, text: &str) -> Cow<'_, str> {
        let is_number = |text: &str| DIGITS.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        if self == Self::Whole || (!text.contains('+') && !is_number(text.trim())) {
            return text.into();
        }
        if is_number(text.trim()) {
            return masked(text.trim()).into();
        }
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(plus) = rest.find('+') {
            let (before, number) = rest.split_at(plus);
            shown.push_str(before);
            let digits = number[1..].bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = number.split_at(1 + digits);
            shown.push_str(&if digits >= *DIGITS.start() { masked(number) } else { number.to_owned() });
            rest = after;
        }
        shown.push_str(rest);
        shown.into()
    }

    /// Every text in a payload.
    pub fn payload(self, value: &mut Value) {
        match value {
            _ if self == Self::Whole => {}
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.payload(item)),
            Value::Object(object) => object.values_mut().for_each(|item| self.payload(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// `+6580000001` becomes `+65•••••••01`; what is too short to keep ends of is hidden whole.
fn masked(number: &str) -> String {
    let count = number.chars().count();
    let (head, tail) = if count >= 8 { (3, 2) } else { (0, 0) };
    let keep = |n: usize| n < head || n >= count - tail;
    number.chars().enumerate().map(|(n, c)| if keep(n) { c } else { '•' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_keeps_its_ends_alone() {
        #[rustfmt::skip]
        let table = [
            ("+6580000001",                 "+65••••••01"),
            ("6580000001",                  "658•••••01"),
            ("call +6580000001 again",      "call +65••••••01 again"),
            ("sip:+6580000001@host",        "sip:+65••••••01@host"),
            ("a + b, 1+1, +12",             "a + b, 1+1, +12"),
            ("CA6580000001",                "CA6580000001"),
            ("ünïcode +6580000001 ✓",       "ünïcode +65••••••01 ✓"),
            ("+1234567",                    "+12•••67"),
            ("1234567",                     "•••••••"),
        ];
        for (text, shown) in table {
            assert_eq!(Numbers::Masked.text(text), shown);
            assert_eq!(Numbers::Whole.text(text), text);
        }
    }

    #[test]
    fn no_text_of_a_payload_is_forgotten() {
        let mut payload = json!({ "To": "+6580000001", "n": 1, "a": [{ "b": "6580000001" }], "id": "CA1" });
        Numbers::Masked.payload(&mut payload);
        assert_eq!(
            payload,
            json!({ "To": "+65••••••01", "n": 1, "a": [{ "b": "658•••••01" }], "id": "CA1" })
        );
    }
}
