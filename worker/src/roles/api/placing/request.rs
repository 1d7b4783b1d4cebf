//! The request to place a call, and the request to ElevenLabs that follows from it. Pure.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::event::{PLACEMENT_VARIABLE, Parties, PlacementId},
    elevenlabs::Carrier,
    roles::api::nearest::unknown,
};

/// Longest id, in characters.
pub const MAX_ID: usize = 128;
/// Most texts in `metadata`.
pub const MAX_METADATA: usize = 32;
/// Longest name of a text in `metadata`, in bytes.
pub const MAX_METADATA_NAME: usize = 64;
/// Longest text in `metadata`, in characters.
pub const MAX_METADATA_TEXT: usize = 512;
/// The field of every call.
const AGENT_ID: &str = "agentId";
/// The fields that may be `null`, which means the same as leaving them out.
const OPTIONAL_FIELDS: [&str; 5] = [
    "metadata",
    "provider",
    "conversationInitiationClientData",
    "telephonyCallConfig",
    "callRecordingEnabled",
];
/// The fields of a telephone call.
const PHONE_FIELDS: [&str; 2] = ["agentPhoneNumberId", "toNumber"];
/// The fields of a call by `WhatsApp`, here and at ElevenLabs.
const WHATSAPP_FIELDS: [(&str, &str); 4] = [
    ("whatsappPhoneNumberId", "whatsapp_phone_number_id"),
    ("whatsappUserId", "whatsapp_user_id"),
    ("whatsappCallPermissionRequestTemplateName", "whatsapp_call_permission_request_template_name"),
    (
        "whatsappCallPermissionRequestTemplateLanguageCode",
        "whatsapp_call_permission_request_template_language_code",
    ),
];
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
    /// The caller's own texts about the call. ElevenLabs does not get them.
    pub metadata: Map<String, Value>,
    /// Parameters that are passed on to ElevenLabs, under its names.
    extra: Map<String, Value>,
}

impl CallRequest {
    /// Reads the JSON of `POST /api/agent-calls`. An unknown field is refused: it may be a misspelt
    /// known field, and the call must not be placed without that field.
    ///
    /// # Errors
    /// A sentence that names the invalid field. It contains no values, because they can be telephone numbers.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_error| "the request must be one JSON object".to_owned())?;
        let mut request = Self {
            carrier: Carrier::Twilio,
            agent_id: String::new(),
            agent_phone_number_id: String::new(),
            to_number: String::new(),
            metadata: Map::new(),
            extra: Map::new(),
        };
        let given: Vec<_> =
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone()).collect();
        for (name, value) in fields {
            if value.is_null() && OPTIONAL_FIELDS.contains(&name.as_str()) {
                continue; // As if it were not given.
            }
            match name.as_str() {
                AGENT_ID => request.agent_id = id(&name, &value)?,
                "agentPhoneNumberId" => request.agent_phone_number_id = id(&name, &value)?,
                "toNumber" => request.to_number = number(&value)?,
                "metadata" => request.metadata = metadata(value)?,
                "provider" => request.carrier = carrier(&value)?,
                "conversationInitiationClientData" => {
                    request.pass(&name, CLIENT_DATA, value, Value::is_object)?;
                }
                "telephonyCallConfig" => {
                    request.pass(&name, "telephony_call_config", value, Value::is_object)?;
                }
                "callRecordingEnabled" => {
                    request.pass(&name, "call_recording_enabled", value, Value::is_boolean)?;
                }
                name if let Some((_, theirs)) = WHATSAPP_FIELDS.iter().find(|(ours, _)| *ours == name) => {
                    request.extra.insert((*theirs).to_owned(), id(name, &value)?.into());
                }
                _ => return Err(unknown("field", &name, known_fields())),
            }
        }
        let is_given = |name: &str| given.iter().any(|given| given == name);
        if let Some(name) = required(request.carrier).find(|name| !is_given(name)) {
            return Err(format!("{name} is missing"));
        }
        if let Some(name) = unfit(request.carrier).find(|name| is_given(name)) {
            return Err(format!("{name} does not fit this provider"));
        }
        let variables = request.extra.get(CLIENT_DATA).and_then(|data| data.get("dynamic_variables"));
        if variables.is_some_and(|variables| !variables.is_object() && !variables.is_null()) {
            return Err("conversationInitiationClientData.dynamic_variables must be an object".to_owned());
        }
        Ok(request)
    }

    /// Keeps the field `name` for ElevenLabs, which calls it `theirs`, if `fits` accepts its value.
    fn pass(
        &mut self,
        name: &str,
        theirs: &str,
        value: Value,
        fits: fn(&Value) -> bool,
    ) -> Result<(), String> {
        if !fits(&value) {
            return Err(format!("{name} has the wrong type"));
        }
        self.extra.insert(theirs.to_owned(), value);
        Ok(())
    }

    /// A digest of the request. A repeated idempotency key must come with the same digest.
    pub fn digest(&self) -> String {
        // The words of the first two providers and the absence of metadata are as in earlier versions, whose
        // digests are stored.
        let carrier = match self.carrier {
            Carrier::Twilio => json!(false),
            Carrier::Sip => json!(true),
            Carrier::Exotel => json!("exotel"),
            Carrier::WhatsApp => json!("whatsapp"),
        };
        let mut text =
            json!([carrier, self.agent_id, self.agent_phone_number_id, self.to_number, self.extra]);
        if let (Some(parts), false) = (text.as_array_mut(), self.metadata.is_empty()) {
            parts.push(Value::Object(self.metadata.clone()));
        }
        hex::encode(Sha256::digest(text.to_string()))
    }

    /// The request to ElevenLabs. It carries the id of the placement, so that every webhook of the call can
    /// be assigned to it.
    pub fn to_elevenlabs(&self, id: &PlacementId) -> Map<String, Value> {
        let mut request = self.extra.clone();
        request.insert("agent_id".to_owned(), self.agent_id.as_str().into());
        if self.carrier != Carrier::WhatsApp {
            request.insert("agent_phone_number_id".to_owned(), self.agent_phone_number_id.as_str().into());
            request.insert("to_number".to_owned(), self.to_number.as_str().into());
        }
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
            agent_phone_number_id: Some(self.agent_phone_number_id.clone()).filter(|id| !id.is_empty()),
            to_number: Some(self.to_number.clone()).filter(|number| !number.is_empty()),
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
        Some("exotel") => Ok(Carrier::Exotel),
        Some("whatsapp") => Ok(Carrier::WhatsApp),
        _ => Err("provider must be \"twilio\", \"sip\", \"exotel\" or \"whatsapp\"".to_owned()),
    }
}

/// Every field of a request.
pub fn known_fields() -> impl Iterator<Item = &'static str> {
    let whatsapp = WHATSAPP_FIELDS.map(|(ours, _)| ours);
    [AGENT_ID].into_iter().chain(OPTIONAL_FIELDS).chain(PHONE_FIELDS).chain(whatsapp)
}

/// The fields that a request with this carrier must have.
fn required(carrier: Carrier) -> impl Iterator<Item = &'static str> {
    let phone = (carrier != Carrier::WhatsApp).then_some(PHONE_FIELDS).into_iter().flatten();
    let whatsapp = (carrier == Carrier::WhatsApp).then_some(WHATSAPP_FIELDS).into_iter().flatten();
    [AGENT_ID].into_iter().chain(phone).chain(whatsapp.map(|(ours, _)| ours))
}

/// The fields that ElevenLabs' API for this carrier does not take.
fn unfit(carrier: Carrier) -> impl Iterator<Item = &'static str> {
    let whatsapp = (carrier != Carrier::WhatsApp).then_some(WHATSAPP_FIELDS).into_iter().flatten();
    let phone = (carrier == Carrier::WhatsApp).then_some(PHONE_FIELDS).into_iter().flatten();
    let config = (carrier == Carrier::WhatsApp).then_some("telephonyCallConfig");
    let recording = (carrier != Carrier::Twilio).then_some("callRecordingEnabled");
    whatsapp.map(|(ours, _)| ours).chain(phone).chain(config).chain(recording)
}

/// The caller's own texts. Their names become names of fields, so they are plain.
fn metadata(value: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(texts) = value else {
        return Err("metadata must be an object".to_owned());
    };
    if texts.len() > MAX_METADATA {
        return Err(format!("metadata must have at most {MAX_METADATA} texts"));
    }
    for (name, value) in &texts {
        if !is_metadata_name(name) {
            return Err(format!(
                "each name in metadata must be 1 to {MAX_METADATA_NAME} letters, digits, '_' or '-'"
            ));
        }
        if value.as_str().is_none_or(|text| text.chars().count() > MAX_METADATA_TEXT) {
            return Err(format!("metadata.{name} must be a text of at most {MAX_METADATA_TEXT} characters"));
        }
    }
    Ok(texts)
}

/// Whether one of the caller's own texts may have this name.
pub fn is_metadata_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_METADATA_NAME).contains(&name.len()) && name.bytes().all(is_plain)
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
    fn each_provider_takes_the_fields_of_its_api() {
        let mut whatsapp = json!({ "agentId": "a", "provider": "whatsapp" });
        for (ours, _) in WHATSAPP_FIELDS {
            let error = CallRequest::read(whatsapp.to_string().as_bytes()).unwrap_err();
            assert_eq!(error, format!("{ours} is missing"));
            whatsapp[ours] = "x".into();
        }
        let call = CallRequest::read(whatsapp.to_string().as_bytes()).unwrap();
        let request = call.to_elevenlabs(&PlacementId::new("p-1").unwrap());
        let names: Vec<_> = request.keys().filter(|name| *name != CLIENT_DATA).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(WHATSAPP_FIELDS.iter().all(|(_, theirs)| request[*theirs] == "x"));
        for (provider, unfit) in
            [("whatsapp", "toNumber"), ("exotel", "callRecordingEnabled"), ("sip", "callRecordingEnabled")]
        {
            let mut body = if provider == "whatsapp" { whatsapp.clone() } else { good() };
            body["provider"] = provider.into();
            assert!(CallRequest::read(body.to_string().as_bytes()).is_ok());
            body[unfit] = if unfit == "toNumber" { "+6580000001".into() } else { true.into() };
            let error = CallRequest::read(body.to_string().as_bytes()).unwrap_err();
            assert_eq!(error, format!("{unfit} does not fit this provider"));
        }
    }

    #[test]
    fn a_field_that_is_null_is_not_given() {
        let mut body = good();
        for name in OPTIONAL_FIELDS {
            body[name] = Value::Null;
        }
        let [with, without] =
            [body.clone(), good()].map(|body| CallRequest::read(body.to_string().as_bytes()));
        assert_eq!(with, without);
        body["agentId"] = Value::Null;
        assert!(CallRequest::read(body.to_string().as_bytes()).unwrap_err().contains("agentId must be"));
    }

    #[test]
    fn metadata_counts_for_the_digest_and_is_not_passed_on() {
        let plain = CallRequest::read(good().to_string().as_bytes()).unwrap();
        let mut body = good();
        body["metadata"] = json!({ "order": "7" });
        let call = CallRequest::read(body.to_string().as_bytes()).unwrap();
        let id = PlacementId::new("p-1").unwrap();
        assert_eq!(Value::Object(call.metadata.clone()), body["metadata"]);
        assert_eq!(call.to_elevenlabs(&id), plain.to_elevenlabs(&id));
        assert_ne!(call.digest(), plain.digest());
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
            ("provider",  json!("vonage"),               "provider"),
            ("metadata",  json!("x"),                    "metadata"),
            ("metadata",  json!({ "n": 1 }),             "metadata.n"),
            ("metadata",  json!({ "a.b": "x" }),         "metadata"),
            ("metadata",  json!({ "n": "8000".repeat(200) }), "metadata.n"),
            ("whatsappUserId", json!("6580000001"),      "whatsappUserId does not fit"),
            ("tonumber",  json!("+6580000001"),          "unknown field \"tonumber\"; did you mean \"toNumber\"?"),
            ("agent_id",  json!("a"),                    "did you mean \"agentId\"?"),
            ("whatsappUser", json!("x"),                 "did you mean \"whatsappUserId\"?"),
            ("conversationInitiationClientData", json!("x"), "conversationInitiationClientData has"),
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
