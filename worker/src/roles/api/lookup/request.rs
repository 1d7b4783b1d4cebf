//! The request of a status lookup. Pure.

use serde_json::{Map, Value};

use super::error::LookupError;
use crate::{
    domain::event::{CallId, ConversationId, PlacementId},
    roles::api::nearest::unknown,
};

/// The fields of a request.
const FIELDS: [&str; 4] = ["callId", "callSid", "conversation_id", "placementId"];

/// The call that a request names, by one id or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupRequest {
    /// `callId`, or `callSid`, which is Twilio's name for it.
    pub call: Option<CallId>,
    /// `conversation_id`.
    pub conversation: Option<ConversationId>,
    /// `placementId`. It finds a call for which ElevenLabs returned no other id.
    pub placement: Option<PlacementId>,
}

impl LookupRequest {
    /// Reads `{"conversation_id"?, "callId"?, "callSid"?, "placementId"?}`.
    ///
    /// # Errors
    /// The payload is no JSON object, a field is not known, an id is no string or has characters that no id
    /// has, `callId` and `callSid` differ, or there is no id. An object in place of an id is refused because MongoDB would read it as a query operator.
    pub fn read(payload: &[u8]) -> Result<Self, LookupError> {
        let object: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_error| LookupError::Invalid("the request must be one JSON object".to_owned()))?;
        if let Some(name) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(LookupError::Invalid(unknown("field", name, FIELDS)));
        }
        let text = |field: &str| match object.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok(Some(id.trim()).filter(|id| !id.is_empty())),
            Some(_) => Err(LookupError::Invalid(format!("{field} must be a string"))),
        };
        let invalid = |field: &'static str| {
            move |_error| {
                LookupError::Invalid(format!("{field} contains characters that are not allowed in an id"))
            }
        };
        let (call, sid) = (text("callId")?, text("callSid")?);
        if call.zip(sid).is_some_and(|(call, sid)| call != sid) {
            return Err(LookupError::Invalid("callId and callSid are two names of one id".to_owned()));
        }
        let request = Self {
            call: call.or(sid).map(CallId::new).transpose().map_err(invalid("callId"))?,
            conversation: text("conversation_id")?
                .map(ConversationId::new)
                .transpose()
                .map_err(invalid("conversation_id"))?,
            placement: text("placementId")?
                .map(PlacementId::new)
                .transpose()
                .map_err(invalid("placementId"))?,
        };
        if request.call.is_none() && request.conversation.is_none() && request.placement.is_none() {
            return Err(LookupError::NoIdentifier);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_request_must_be_strings() {
        #[rustfmt::skip]
        let table = [
            (r#"{"callSid":"c"}"#,                          None),
            (r#"{"conversation_id":"v","callSid":null}"#,   None),
            (r#"{"placementId":"0af1"}"#,                   None),
            (r#"{"callId":"c"}"#,                           None),
            (r#"{"callId":"c","callSid":"c"}"#,             None),
            (r#"{"callId":"c","callSid":"d"}"#,             Some("invalid_request")),
            (r#"{"callId":"c","conversationId":"v"}"#,      Some("invalid_request")),
            (r#"{"callId":"c","$where":"true"}"#,           Some("invalid_request")),
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
            assert_eq!(
                LookupRequest::read(body.as_bytes()).err().map(|error| error.refusal().code()),
                refused,
                "{body}"
            );
        }
        let error = LookupRequest::read(br#"{"conversationID":"v"}"#).unwrap_err().to_string();
        assert!(error.ends_with("did you mean \"conversation_id\"?"), "{error}");
    }
}
