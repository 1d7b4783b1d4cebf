//! The turns of a conversation, as texts. Pure. A turn of any form can be shown, because senders are not
//! trusted.

use std::time::Duration;

use aftercall_common::phone_numbers::Numbers;
use serde_json::Value;

use super::{
    format,
    tools::{self, Tool},
};

/// Most characters shown of one turn. Usual turns have a few hundred.
const MAX_TEXT: usize = 20_000;

/// One turn of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    pub is_agent: bool,
    pub speaker: String,
    /// Time since the start of the call. Empty: unknown.
    pub time: String,
    /// The same time in seconds, for the recording. Empty: unknown.
    pub second: String,
    pub text: String,
    pub tools: Vec<Tool>,
    pub interrupted: bool,
}

impl Turn {
    /// The turns of a page. `user`: the word for the party that the agent talks to.
    pub fn of_page(turns: &[Value], user: &str, numbers: Numbers) -> Vec<Self> {
        let tools = tools::of_turns(turns, numbers);
        turns.iter().zip(tools).map(|(turn, tools)| Self::read(turn, user, tools, numbers)).collect()
    }

    /// Reads a turn as ElevenLabs sends it. A value of another form is shown as JSON text.
    fn read(turn: &Value, user: &str, tools: Vec<Tool>, numbers: Numbers) -> Self {
        let role = turn.get("role").and_then(Value::as_str).unwrap_or("unknown");
        let message = match turn.get("message") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None if turn.is_object() => String::new(),
            Some(other) => other.to_string(),
            None => turn.as_str().map_or_else(|| turn.to_string(), str::to_owned),
        };
        let seconds = turn.get("time_in_call_secs").and_then(Value::as_f64).unwrap_or(-1.0);
        let second = Duration::try_from_secs_f64(seconds).ok();
        Self {
            is_agent: role == "agent",
            speaker: match role {
                "agent" => "Agent".to_owned(),
                "user" => user.to_owned(),
                other => format::masked(other, 32, numbers),
            },
            time: second.map(format::talk_time).unwrap_or_default(),
            second: second.map(|second| second.as_secs_f64().to_string()).unwrap_or_default(),
            text: format::masked(&message, MAX_TEXT, numbers),
            tools,
            interrupted: turn.get("interrupted").and_then(Value::as_bool).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_of_any_form_is_shown() {
        let read = |turn: Value| Turn::of_page(&[turn], "Callee", Numbers::Masked).remove(0);
        let turn = read(json!({ "role": "user", "message": "Call +6580000001", "time_in_call_secs": 64,
            "tool_calls": [{ "tool_name": "end_call" }, 7], "interrupted": true }));
        assert_eq!(
            (turn.speaker.as_str(), turn.time.as_str(), turn.second.as_str()),
            ("Callee", "1:04", "64")
        );
        assert_eq!(turn.text, "Call +65••••••01");
        assert!(turn.interrupted && turn.tools.len() == 1 && turn.tools[0].name == "end_call");
        #[rustfmt::skip]
        let table = [
            (json!({ "role": "agent", "message": null }),              ""),
            (json!({ "role": "agent" }),                               ""),
            (json!({ "message": { "a": 1 } }),                         r#"{"a":1}"#),
            (json!("just text"),                                       "just text"),
            (json!([1]),                                               "[1]"),
            (json!({ "message": "x", "time_in_call_secs": -1e300 }),   "x"),
        ];
        for (turn, text) in table {
            assert_eq!(read(turn.clone()).text, text, "{turn}");
        }
        assert!(read(json!({ "message": "é".repeat(50_000) })).text.chars().count() <= MAX_TEXT + 1);
    }
}
