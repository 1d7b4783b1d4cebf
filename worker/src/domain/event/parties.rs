//! The agent and the callee of a call.

use serde_json::Value;

use crate::domain::text::{MAX_PARTY, cut};

/// The agent and the callee of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Id of the agent (`agent_id`).
    pub agent_id: Option<String>,
    /// Id of the agent's telephone number (`agent_phone_number_id`).
    pub agent_phone_number_id: Option<String>,
    /// Telephone number of the callee (`to_number`).
    pub to_number: Option<String>,
}

/// Reads an id, a name or a number of a party, cut to [`MAX_PARTY`] characters. `None` for an empty text and
/// for a value that is neither a text nor a number.
pub(super) fn read(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            Some(text.trim()).filter(|text| !text.is_empty()).map(|text| cut(text, MAX_PARTY))
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads the number of a party like [`read`], in one spelling.
pub(super) fn read_number(value: &Value) -> Option<String> {
    read(value).map(|text| one_spelling(&text))
}

/// `number` without the spaces, dashes, dots, slashes and brackets between its digits, so that all sources spell it alike.
/// Another address, such as a SIP URI, stays as it is. So does a number with `(0)`, which is not dialled from abroad.
pub fn one_spelling(number: &str) -> String {
    let plain: String = number.chars().filter(|symbol| !" \u{a0}-./()".contains(*symbol)).collect();
    let digits = plain.strip_prefix('+').unwrap_or(&plain);
    let is_number = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !number.contains("(0)") { plain } else { number.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (number, expected) in [
            ("+65 8123 4567", "+6581234567"),
            ("(500) 555-0006", "5005550006"),
            ("+1.500.555/0006", "+15005550006"),
            ("+44 (0)20 7946 0958", "+44 (0)20 7946 0958"),
            ("sip:+65 8123 4567@example.com", "sip:+65 8123 4567@example.com"),
            ("extension 17", "extension 17"),
            ("12 34", "12 34"),
            ("1 + 2345678", "1 + 2345678"),
        ] {
            assert_eq!(one_spelling(number), expected);
        }
    }
}
