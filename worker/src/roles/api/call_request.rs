//! What a caller asks for when it places a call, and what is asked of ElevenLabs then. Pure.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::event::{PLACEMENT_VARIABLE, Parties, PlacementId},
    elevenlabs::Carrier,
};

const MAX_ID: usize = 128;
const CLIENT_DATA: &str = "conversation_initiation_client_data";

/// A call to be placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Who carries it.
    pub carrier: Carrier,
    agent_id: String,
    agent_phone_number_id: String,
    to_number: String,
    /// Parameters of ElevenLabs that are passed on, under its names.
    extra: Map<String, Value>,
}

impl Order {
    /// Reads the JSON of `POST /api/agent-calls`. An unknown field is refused: a misspelt one must not
    /// be dialled without.
    ///
    /// # Errors
    /// A sentence that names the field and repeats no value.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_error| "the request must be one JSON object".to_owned())?;
        let mut order = Self {
            carrier: Carrier::Twilio,
            agent_id: String::new(),
            agent_phone_number_id: String::new(),
            to_number: String::new(),
            extra: Map::new(),
        };
        for (name, value) in fields {
            match name.as_str() {
                "agentId" => order.agent_id = id(&name, &value)?,
                "agentPhoneNumberId" => order.agent_phone_number_id = id(&name, &value)?,
                "toNumber" => order.to_number = number(&value)?,
                "provider" => order.carrier = carrier(&value)?,
                "conversationInitiationClientData" => order.pass(CLIENT_DATA, value, Value::is_object)?,
                "telephonyCallConfig" => order.pass("telephony_call_config", value, Value::is_object)?,
                "callRecordingEnabled" => order.pass("call_recording_enabled", value, Value::is_boolean)?,
                _ => {
                    return Err(format!("there is no field {:?}", name.chars().take(64).collect::<String>()));
                }
            }
        }
        for (name, value) in [
            ("agentId", &order.agent_id),
            ("agentPhoneNumberId", &order.agent_phone_number_id),
            ("toNumber", &order.to_number),
        ] {
            if value.is_empty() {
                return Err(format!("{name} is missing"));
            }
        }
        let variables = order.extra.get(CLIENT_DATA).and_then(|data| data.get("dynamic_variables"));
        if variables.is_some_and(|variables| !variables.is_object() && !variables.is_null()) {
            return Err("conversationInitiationClientData.dynamic_variables must be an object".to_owned());
        }
        Ok(order)
    }

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

    /// Tells this request from another one under the same key.
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

    /// The request to ElevenLabs. It carries the placement's id, so that whatever is heard of the call
    /// leads back to it.
    pub fn request(&self, id: &PlacementId) -> Map<String, Value> {
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

    /// Who takes part.
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

/// E.164.
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
    fn an_order_becomes_a_request_that_names_its_placement() {
        let mut body = good();
        body["conversationInitiationClientData"] =
            json!({ "user_id": "u", "dynamic_variables": { "name": "x" } });
        let order = Order::read(body.to_string().as_bytes()).unwrap();
        let request = order.request(&PlacementId::new("p-1").unwrap());
        assert_eq!(
            Value::Object(request),
            json!({
                "agent_id": "a", "agent_phone_number_id": "p", "to_number": "+6580000001",
                CLIENT_DATA: { "user_id": "u", "dynamic_variables": { "name": "x", PLACEMENT_VARIABLE: "p-1" } },
            })
        );
        let plain = Order::read(good().to_string().as_bytes()).unwrap();
        assert_ne!(plain.digest(), order.digest());
        assert_eq!(
            plain.request(&PlacementId::new("p-2").unwrap())[CLIENT_DATA]["dynamic_variables"]
                [PLACEMENT_VARIABLE],
            "p-2"
        );
    }

    #[test]
    fn what_must_not_be_dialled_is_named() {
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
            let error = Order::read(body.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(expected) && !error.contains("8000"), "{error}");
        }
        for missing in ["agentId", "agentPhoneNumberId", "toNumber"] {
            let mut body = good();
            body.as_object_mut().unwrap().remove(missing);
            assert_eq!(
                Order::read(body.to_string().as_bytes()).unwrap_err(),
                format!("{missing} is missing")
            );
        }
        assert!(Order::read(b"[]").is_err());
    }
}
