//! The role of a telephone number in a payload: party of the call, mentioned, or absent. Pure.

use aftercall_common::phone_numbers::Wanted;
use serde_json::Value;

/// The role of a telephone number in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The number does not occur.
    None,
    /// The number occurs, for example in a transcript or in a note.
    Mentioned,
    /// The number is caller or callee.
    Party,
}

/// Fields whose value is the caller or the callee. Names are in lower case, without special characters.
const PARTY_FIELDS: [&str; 24] = [
    "to",
    "from",
    "called",
    "caller",
    "tonumber",
    "fromnumber",
    "callednumber",
    "callernumber",
    "callerid",
    "calledid",
    "externalnumber",
    "phonenumber",
    "tophonenumber",
    "fromphonenumber",
    "recipientphonenumber",
    "recipientnumber",
    "customernumber",
    "forwardedfrom",
    "whatsappuserid",
    "systemcallerid",
    "systemcallednumber",
    "systemcallernumber",
    "toformatted",
    "fromformatted",
];
/// Fields with text that people speak or models write. A number in such a text is only mentioned.
const PROSE_FIELDS: [&str; 6] =
    ["transcript", "analysis", "transcriptsummary", "messages", "conversationhistory", "summary"];
/// The field that holds the dynamic variables. The customer chooses most of them, so a number in them is only
/// mentioned. ElevenLabs sets the variables whose names begin with `system`, and some of them name a party.
const VARIABLES: &str = "dynamicvariables";

/// The role of `wanted` in a payload: JSON, a form, or other text.
pub(super) fn of_text(text: &str, wanted: &Wanted) -> Role {
    if !wanted.is_in(text) {
        return Role::None;
    }
    let is_party = match serde_json::from_str::<Value>(text) {
        Ok(payload) => has_party("", &payload, wanted),
        Err(_) => form_urlencoded::parse(text.as_bytes())
            .any(|(name, value)| is_party_name(&plain(&name)) && wanted.is_in(&value)),
    };
    if is_party { Role::Party } else { Role::Mentioned }
}

/// The role of `wanted` in a payload that is parsed already.
pub(super) fn of_value(payload: &Value, wanted: &Wanted) -> Role {
    if has_party("", payload, wanted) {
        Role::Party
    } else if occurs(payload, wanted) {
        Role::Mentioned
    } else {
        Role::None
    }
}

fn has_party(name: &str, value: &Value, wanted: &Wanted) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(name, value)| {
            let name = plain(name);
            match name.as_str() {
                name if PROSE_FIELDS.contains(&name) => false,
                VARIABLES => given_by_provider(value, wanted),
                name => has_party(name, value, wanted),
            }
        }),
        Value::Array(items) => items.iter().any(|item| has_party(name, item, wanted)),
        Value::String(text) => is_party_name(name) && wanted.is_in(text),
        Value::Number(number) => is_party_name(name) && wanted.is_in(&number.to_string()),
        Value::Null | Value::Bool(_) => false,
    }
}

fn given_by_provider(variables: &Value, wanted: &Wanted) -> bool {
    variables.as_object().into_iter().flatten().any(|(name, value)| {
        let name = plain(name);
        name.starts_with("system") && has_party(&name, value, wanted)
    })
}

fn occurs(value: &Value, wanted: &Wanted) -> bool {
    match value {
        Value::Object(object) => {
            object.iter().any(|(name, value)| wanted.is_in(name) || occurs(value, wanted))
        }
        Value::Array(items) => items.iter().any(|item| occurs(item, wanted)),
        Value::String(text) => wanted.is_in(text),
        Value::Number(number) => wanted.is_in(&number.to_string()),
        Value::Null | Value::Bool(_) => false,
    }
}

fn is_party_name(name: &str) -> bool {
    PARTY_FIELDS.contains(&name)
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_is_distinguished_from_a_number_that_is_only_mentioned() {
        use Role::{Mentioned, None, Party};
        #[rustfmt::skip]
        let table = [
            (r#"{"to_number":"+1 (202) 555-0100"}"#,                                                       Party),
            (r#"{"toNumber":12025550100}"#,                                                                Party),
            ("To=%2B12025550100&CallStatus=ringing",                                                       Party),
            ("Caller=%2B1+202+555+0100",                                                                   Party),
            (r#"{"data":{"metadata":{"phone_call":{"direction":"inbound","external_number":"+12025550100"}}}}"#, Party),
            (r#"{"data":{"conversation_initiation_client_data":{"dynamic_variables":{"system__caller_id":"+12025550100"}}}}"#, Party),
            (r#"{"metadata":{"body":{"Called":"+12025550100"}}}"#,                                         Party),
            (r#"{"a":[{"from":["x","+12025550100"]}]}"#,                                                   Party),
            (r#"{"dynamic_variables":{"callback_to":"+12025550100","to":"+12025550100"}}"#,                Mentioned),
            (r#"{"transcript":[{"to":"+12025550100","message":"call 1 202 555 0100"}]}"#,                  Mentioned),
            (r#"{"analysis":{"data":{"phone_number":"12025550100"}}}"#,                                    Mentioned),
            (r#"{"note":"referred by +1 202 555 0100"}"#,                                                  Mentioned),
            (r#"{"+12025550100":1}"#,                                                                      Mentioned),
            ("note=call+12025550100",                                                                      Mentioned),
            ("no format: 12025550100",                                                                     Mentioned),
            (r#"{"to_number":"+12025550101"}"#,                                                            None),
            (r#"{"to_number":"+120255501001"}"#,                                                           None),
        ];
        let wanted = Wanted::new("12025550100", false);
        for (text, expected) in table {
            assert_eq!(of_text(text, &wanted), expected, "{text}");
            if let Ok(payload) = serde_json::from_str(text) {
                assert_eq!(of_value(&payload, &wanted), expected, "{text}");
            }
        }
    }
}
