//! The request to place a call, and the request to ElevenLabs that follows from it. Pure.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::event::{PLACEMENT_VARIABLE, Parties, PlacementId},
    elevenlabs::Carrier,
};

/// Longest id, in characters.
const MAX_ID: usize = 128;
/// The field of ElevenLabs that carries the dynamic variables.
const CLIENT_DATA: &str = "conversation_initiation_client_data";

/// A valid request to place a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRequest {
    /// The telephone provider that carries the call.
    pub carrier: Carrier,
    agent_id: String,
    agent_phone_number_id: String,
    to_number: String,
    /// Parameters that are passed on to ElevenLabs, under its names.
    extra: Map<String, Value>,
}

impl CallRequest {
    /// Reads the JSON of `POST /api/agent-calls`. An unknown field is refused: it may be a misspelt
    /// known field, and the call must not be placed without that field.
    ///
    /// # Errors
    /// A sentence that names the wrong field. It contains no values, because they can be telephone numbers.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_error| "the request must be one JSON object".to_owned())?;
        let mut request = Self {
            carrier: Carrier::Twilio,
            agent_id: String::new(),
            agent_phone_number_id: String::new(),
            to_number: String::new(),
            extra: Map::new(),
        };
        for (name, value) in fields {
            match name.as_str() {
                "agentId" => request.agent_id = id(&name, &value)?,
                "agentPhoneNumberId" => request.agent_phone_number_id = id(&name, &value)?,
                "toNumber" => request.to_number = number(&value)?,
                "provider" => request.carrier = carrier(&value)?,
                "conversationInitiationClientData" => request.pass(CLIENT_DATA, value, Value::is_object)?,
                "telephonyCallConfig" => request.pass("telephony_call_config", value, Value::is_object)?,
                "callRecordingEnabled" => request.pass("call_recording_enabled", value, Value::is_boolean)?,
                _ => {
                    return Err(format!("unknown field {:?}", name.chars().take(64).collect::<String>()));
                }
            }
        }
        for (name, value) in [
            ("agentId", &request.agent_id),
            ("agentPhoneNumberId", &request.agent_phone_number_id),
            ("toNumber", &request.to_number),
        ] {
            if value.is_empty() {
                return Err(format!("{name} is missing"));
            }
        }
        let variables = request.extra.get(CLIENT_DATA).and_then(|data| data.get("dynamic_variables"));
        if variables.is_some_and(|variables| !variables.is_object() && !variables.is_null()) {
            return Err("conversationInitiationClientData.dynamic_variables must be an object".to_owned());
        }
        Ok(request)
    }

    /// Takes over a parameter of ElevenLabs, if `fits` accepts its value.
    fn pass(&mut self, name: &str, value: Value, fits: fn(&Value) -> bool) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        if !fits(&value) {
            return Err(format!("{name} has the wrong type"));
        }
        self.extra.insert(name.to_owned(), value);
        Ok(())
    }

    /// A digest of the request. A repeated idempotency key must come with the same digest.
    pub fn digest(&self) -> String {
        let text = json!([
            matches!(self.carrier, Carrier::Sip),
            self.agent_id,
            self.agent_phone_number_id,
            self.to_number,
            self.extra,
        ]);
        hex::encode(Sha256::digest(text.to_string()))
    }

    /// The request to ElevenLabs. It carries the id of the placement, so that every webhook of the call can
    /// be assigned to it.
    pub fn to_elevenlabs(&self, id: &PlacementId) -> Map<String, Value> {
        let mut request = self.extra.clone();
        request.insert("agent_id".to_owned(), self.agent_id.as_str().into());
        request.insert("agent_phone_number_id".to_owned(), self.agent_phone_number_id.as_str().into());
        request.insert("to_number".to_owned(), self.to_number.as_str().into());
        let data = request.entry(CLIENT_DATA).or_insert_with(|| json!({}));
        if data["dynamic_variables"].is_null() {
            data["dynamic_variables"] = json!({});
        }
        data["dynamic_variables"][PLACEMENT_VARIABLE] = id.as_str().into();
        request
    }

    /// Agent and callee.
    pub fn parties(&self) -> Parties {
        Parties {
            agent_id: Some(self.agent_id.clone()),
            agent_phone_number_id: Some(self.agent_phone_number_id.clone()),
            to_number: Some(self.to_number.clone()),
        }
    }
}

fn id(name: &str, value: &Value) -> Result<String, String> {
    let fits = |id: &&str| (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let wrong = || format!("{name} must be 1 to {MAX_ID} visible ASCII characters");
    value.as_str().filter(fits).map(str::to_owned).ok_or_else(wrong)
}

/// A telephone number in E.164 form.
fn number(value: &Value) -> Result<String, String> {
    let fits = |number: &&str| {
        number.strip_prefix('+').is_some_and(|digits| {
            (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let wrong = || "toNumber must be '+' and 7 to 15 digits".to_owned();
    value.as_str().filter(fits).map(str::to_owned).ok_or_else(wrong)
}

fn carrier(value: &Value) -> Result<Carrier, String> {
    match value.as_str() {
        Some("twilio") => Ok(Carrier::Twilio),
        Some("sip") => Ok(Carrier::Sip),
        _ => Err("provider must be \"twilio\" or \"sip\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({ "agentId": "a", "agentPhoneNumberId": "p", "toNumber": "+6580000001" })
    }

    #[test]
    fn the_request_to_elevenlabs_contains_the_placement_id() {
        let mut body = good();
        body["conversationInitiationClientData"] =
            json!({ "user_id": "u", "dynamic_variables": { "name": "x" } });
        let call = CallRequest::read(body.to_string().as_bytes()).unwrap();
        let request = call.to_elevenlabs(&PlacementId::new("p-1").unwrap());
        assert_eq!(
            Value::Object(request),
            json!({
                "agent_id": "a", "agent_phone_number_id": "p", "to_number": "+6580000001",
                CLIENT_DATA: { "user_id": "u", "dynamic_variables": { "name": "x", PLACEMENT_VARIABLE: "p-1" } },
            })
        );
        let plain = CallRequest::read(good().to_string().as_bytes()).unwrap();
        assert_ne!(plain.digest(), call.digest());
        assert_eq!(
            plain.to_elevenlabs(&PlacementId::new("p-2").unwrap())[CLIENT_DATA]["dynamic_variables"]
                [PLACEMENT_VARIABLE],
            "p-2"
        );
    }

    #[test]
    fn an_invalid_field_is_named_without_its_value() {
        #[rustfmt::skip]
        let table = [
            ("toNumber",  json!("6580000001"),           "toNumber"),
            ("toNumber",  json!("+65 8000 0001"),        "toNumber"),
            ("toNumber",  json!("+123456"),              "toNumber"),
            ("toNumber",  json!(6_580_000_001_u64),      "toNumber"),
            ("agentId",   json!(""),                     "agentId"),
            ("agentId",   json!({ "$gt": "" }),          "agentId"),
            ("agentId",   json!("a b"),                  "agentId"),
            ("provider",  json!("exotel"),               "provider"),
            ("tonumber",  json!("+6580000001"),          "tonumber"),
            ("conversationInitiationClientData", json!("x"), "client_data"),
            ("conversationInitiationClientData", json!({ "dynamic_variables": [] }), "dynamic_variables"),
        ];
        for (name, value, expected) in table {
            let mut body = good();
            body[name] = value;
            let error = CallRequest::read(body.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(expected) && !error.contains("8000"), "{error}");
        }
        for missing in ["agentId", "agentPhoneNumberId", "toNumber"] {
            let mut body = good();
            body.as_object_mut().unwrap().remove(missing);
            assert_eq!(
                CallRequest::read(body.to_string().as_bytes()).unwrap_err(),
                format!("{missing} is missing")
            );
        }
        assert!(CallRequest::read(b"[]").is_err());
    }
}
