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
