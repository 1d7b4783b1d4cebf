//! How the parties of a conversation are connected: channel, direction and numbers.
//!
//! The SDK's models `ConversationHistory…PhoneCallModel`, `WhatsAppConversationInfo` and `SmsConversationInfo`
//! (`elevenlabs` 2.78.0 on the Python package index) have the fields.

use serde_json::{Map, Value};

use super::payload::at_path;
use crate::domain::event::{connection::is_inbound, parties};

/// The sources of conversations in a browser. They are one channel.
const WEB_SOURCES: [&str; 3] = ["widget", "js_sdk", "react_sdk"];

/// A part of the metadata that describes a connection, and its fields.
struct Part {
    name: &'static str,
    /// The channel. `None`: the part names it in its field `type`.
    channel: Option<&'static str>,
    agent_number: Option<&'static str>,
    other_number: &'static str,
    agent_phone_number_id: &'static str,
}

const PARTS: [Part; 3] = [
    Part {
        name: "phone_call",
        channel: None,
        agent_number: Some("agent_number"),
        other_number: "external_number",
        agent_phone_number_id: "phone_number_id",
    },
    Part {
        name: "whatsapp",
        channel: Some("whatsapp"),
        agent_number: None,
        other_number: "whatsapp_user_id",
        agent_phone_number_id: "whatsapp_phone_number_id",
    },
    Part {
        name: "sms",
        channel: Some("sms"),
        agent_number: Some("agent_phone_number"),
        other_number: "sms_user_phone_number",
        agent_phone_number_id: "phone_number_id",
    },
];

/// How the parties of a conversation are connected.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The channel, as the provider names it.
    pub channel: Option<String>,
    /// Whether the agent was called.
    pub is_inbound: Option<bool>,
    /// The number of the caller.
    pub from_number: Option<String>,
    /// The number of the callee.
    pub to_number: Option<String>,
    /// The id of the agent's number.
    pub agent_phone_number_id: Option<String>,
}

impl Connection {
    /// Reads the connection of `conversation`.
    pub(super) fn read(conversation: &Map<String, Value>) -> Self {
        let source = at_path(conversation, &["metadata", "conversation_initiation_source"]);
        let source = source.and_then(Value::as_str).and_then(channel_of_source);
        let of_part =
            |part: &'static Part| Some((part, at_path(conversation, &["metadata", part.name])?.as_object()?));
        let Some((part, fields)) = PARTS.iter().find_map(of_part) else {
            return Self { channel: source.map(str::to_owned), ..Self::default() };
        };
        let named = || fields.get("type").and_then(Value::as_str).map(channel_name).or(source);
        let is_inbound = fields.get("direction").and_then(Value::as_str).and_then(is_inbound);
        let number = |field: &str| fields.get(field).and_then(parties::read_number);
        let (agent, other) = (part.agent_number.and_then(number), number(part.other_number));
        // Most calls are outbound, so a call of unknown direction is read as one.
        let (from_number, to_number) = if is_inbound == Some(true) { (other, agent) } else { (agent, other) };
        Self {
            channel: part.channel.or_else(named).map(str::to_owned),
            is_inbound,
            from_number,
            to_number,
            agent_phone_number_id: fields.get(part.agent_phone_number_id).and_then(parties::read),
        }
    }
}

/// The channel of `conversation`.
pub fn channel(conversation: &Map<String, Value>) -> Option<String> {
    Connection::read(conversation).channel
}

/// The channel of a conversation that was begun by `source`, a word of ElevenLabs such as `widget`.
pub fn channel_of_source(source: &str) -> Option<&str> {
    (source != "unknown").then(|| channel_name(source))
}

/// The channel of a type of telephone call or of a source of conversations.
fn channel_name(word: &str) -> &str {
    match word {
        "sip_trunking" => "sip_trunk",
        "twilio_sms" => "sms",
        word if WEB_SOURCES.contains(&word) => "web",
        word => word,
    }
}
