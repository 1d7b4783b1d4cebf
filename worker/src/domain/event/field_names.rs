//! The names of the fields of a body, for the operator who examines a dead letter. Values are never kept.

use std::fmt;

use serde_json::{Map, Value};

/// Most names that are listed.
const MAX_NAMES: usize = 16;
/// Longest name that is listed, in characters.
const MAX_NAME: usize = 40;
/// Most digits in a name that is listed. With more digits it may be a person's number.
const MAX_DIGITS: usize = 4;

/// Names of fields. A name that may be content is not listed, only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    listed: Vec<String>,
    others: usize,
}

impl FieldNames {
    /// The names of the fields of `raw`, and of the fields in its `data`.
    pub(super) fn of(raw: &Map<String, Value>) -> Self {
        let data = raw.get("data").and_then(Value::as_object);
        let inner = data.into_iter().flat_map(Map::keys).map(|name| ("data.", name));
        let mut names = Self::default();
        for (prefix, name) in raw.keys().map(|name| ("", name)).chain(inner) {
            if names.listed.len() < MAX_NAMES && is_a_name(name) {
                names.listed.push(format!("{prefix}{name}"));
            } else {
                names.others += 1;
            }
        }
        names
    }
}

/// Whether a text looks like a name that a program wrote. A body that is not a form is read as one long name.
fn is_a_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(is_letter)
        && text.bytes().filter(u8::is_ascii_digit).count() <= MAX_DIGITS
}

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.listed[..], self.others) {
            ([], 0) => f.write_str("no fields"),
            ([], others) => write!(f, "{others} fields"),
            (names, 0) => write!(f, "fields {}", names.join(", ")),
            (names, others) => write!(f, "fields {} and {others} more", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_listed_and_names_that_may_be_content_are_only_counted() {
        let many: Map<String, Value> = (0..20).map(|n| (format!("f{n}"), json!(n))).collect();
        #[rustfmt::skip]
        let table = [
            (json!({}),                                              "no fields"),
            (json!({ "RecordingSid": "RE0", "data": { "a": "b" } }), "fields RecordingSid, data, data.a"),
            (json!({ "+6580000001": 1, "a b": 1, "e": 1 }),          "fields e and 2 more"),
            (json!({ "call me at 6580000001": "" }),                 "1 fields"),
            (json!({ "x".repeat(41): "", "n12345": "" }),            "2 fields"),
        ];
        for (raw, expected) in table {
            assert_eq!(FieldNames::of(raw.as_object().unwrap()).to_string(), expected);
        }
        let listed = FieldNames::of(&many).to_string();
        assert!(listed.ends_with("f15 and 4 more") && listed.len() < 1000, "{listed}");
    }
}
