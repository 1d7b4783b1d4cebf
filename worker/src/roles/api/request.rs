//! Request and answer of a status lookup. Pure.

use serde_json::{Map, Value, json};

use super::Refusal;
use crate::domain::event::{CallId, ConversationId, PlacementId};

/// Which call is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// `callSid`.
    pub call: Option<CallId>,
    /// `conversation_id`.
    pub conversation: Option<ConversationId>,
    /// `placementId`, for a call whose outcome was not known when it was placed.
    pub placement: Option<PlacementId>,
}

impl Query {
    /// Reads `{"conversation_id"?, "callSid"?, "placementId"?}`. An operator object in place of an id is refused like
    /// anything else that is no string.
    pub fn read(payload: &[u8]) -> Result<Self, Refusal> {
        let object: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_error| Refusal::Invalid("the request must be one JSON object".to_owned()))?;
        let text = |field: &str| match object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok(Some(id.trim()).filter(|id| !id.is_empty())),
            Some(_) => Err(Refusal::Invalid(format!("{field} must be a string"))),
        };
        let invalid = |field: &'static str| {
            move |_error| Refusal::Invalid(format!("{field} holds characters that no such id has"))
        };
        let query = Self {
            call: text("callSid")?.map(CallId::new).transpose().map_err(invalid("callSid"))?,
            conversation: text("conversation_id")?
                .map(ConversationId::new)
                .transpose()
                .map_err(invalid("conversation_id"))?,
            placement: text("placementId")?
                .map(PlacementId::new)
                .transpose()
                .map_err(invalid("placementId"))?,
        };
        if query.call.is_none() && query.conversation.is_none() && query.placement.is_none() {
            return Err(Refusal::NoIdentifier);
        }
        Ok(query)
    }
}

/// Fields that may be left out of an answer that would not fit into one message.
const OMITTABLE: [&str; 7] =
    ["transcript", "rawResponse", "analysis", "metadata", "initiationFailure", "requestPayload", "history"];

/// The answer as bytes of at most `room`: what does not fit is left out, the largest first, and named in `omitted`.
pub(super) fn fit(mut call: Value, room: usize) -> Vec<u8> {
    let bytes = |value: &Value| serde_json::to_vec(value).expect("a Value is JSON");
    let mut encoded = bytes(&call);
    if encoded.len() <= room {
        return encoded;
    }
    let mut omitted: Vec<Value> = call["omitted"].as_array().cloned().unwrap_or_default();
    let mut sizes = OMITTABLE.map(|field| (bytes(&call[field]).len(), field));
    sizes.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    for (_, field) in sizes {
        if encoded.len() <= room {
            break;
        }
        omitted.push(field.into());
        call[field] = Value::Null;
        call["omitted"] = json!(omitted);
        encoded = bytes(&call);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_call_by_strings_only() {
        #[rustfmt::skip]
        let table = [
            (r#"{"callSid":"c"}"#,                          None),
            (r#"{"conversation_id":"v","callSid":null}"#,   None),
            (r#"{"placementId":"0af1"}"#,                   None),
            (r#"{"placementId":{"$ne":null}}"#,             Some("invalid_request")),
            (r#"{"placementId":"a b"}"#,                    Some("invalid_request")),
            (r"{}",                                         Some("no_identifier")),
            (r#"{"callSid":" "}"#,                          Some("no_identifier")),
            (r#"{"callSid":{"$ne":null}}"#,                 Some("invalid_request")),
            (r#"{"conversation_id":["v"]}"#,                Some("invalid_request")),
            (r#"{"conversation_id":"../agents"}"#,          Some("invalid_request")),
            ("[]",                                          Some("invalid_request")),
        ];
        for (body, refused) in table {
            assert_eq!(Query::read(body.as_bytes()).err().map(|refusal| refusal.code()), refused, "{body}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_named() {
        let call = json!({ "status": "ended", "transcript": "x".repeat(5000), "rawResponse": {"a": 1}, "history": [] });
        assert_eq!(fit(call.clone(), 10_000), serde_json::to_vec(&call).unwrap());
        let small: Value = serde_json::from_slice(&fit(call, 1000)).unwrap();
        assert_eq!((&small["transcript"], &small["omitted"]), (&Value::Null, &json!(["transcript"])));
        assert_eq!(small["rawResponse"], json!({ "a": 1 }));
    }
}
