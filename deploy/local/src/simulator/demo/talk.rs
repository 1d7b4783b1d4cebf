//! What is said in a call of the demo: turns with times and tools, and ElevenLabs' analysis. Pure.

use serde_json::{Value, json};

use super::agents::{Agent, Ends, Script, Tool, Turn, filled};
use crate::simulator::generated::Ending;

/// Seconds from the end of a conversation to its webhook.
pub const ANALYSIS: i64 = 20;
/// Seconds for one word, of the fastest and of the slowest talk.
const SECONDS_PER_WORD: (f64, f64) = (0.36, 0.6);
/// Seconds between two turns.
const PAUSE: f64 = 1.0;

/// A conversation of the demo.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// The turns, as ElevenLabs gives them.
    pub turns: Vec<Value>,
    /// ElevenLabs' analysis. The value is null if a conversation has none.
    pub analysis: Value,
    /// Length in seconds.
    pub seconds: i64,
    /// Why the conversation ended, in ElevenLabs' words.
    pub termination_reason: &'static str,
    /// What the agent knew before the call.
    pub variables: Vec<(String, String)>,
}

impl Talk {
    /// The conversation of a call with this ending. `share` chooses the script. `values`: placeholders and their
    /// values. `pace`: from 0, fast, to 1, slow.
    pub fn of(
        ending: Ending,
        agent: &Agent,
        share: f64,
        values: &[(&'static str, String)],
        pace: f64,
    ) -> Self {
        let names = [("{first}", "first_name"), ("{last}", "last_name"), ("{reference}", "reference")];
        let value =
            |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let known = names.into_iter().filter(|_| !agent.inbound);
        let variables =
            known.filter_map(|(name, variable)| Some((variable.to_owned(), value(name)?))).collect();
        let (fastest, slowest) = SECONDS_PER_WORD;
        let pace = fastest + (slowest - fastest) * pace;
        let talk = match ending {
            Ending::Answered => Self::with_person(&agent.script(share, values), pace),
            Ending::Voicemail | Ending::DetectedMachine => Self::with_machine(agent, values, pace),
            Ending::Failed => Self::broken_off(pace),
            Ending::Busy | Ending::Rejected | Ending::NoAnswer | Ending::NotConnected => Self::default(),
        };
        Self { variables, ..talk }
    }

    fn with_person(script: &Script, pace: f64) -> Self {
        let (turns, seconds) = timed(&script.turns, pace);
        let criteria = script.criteria.iter().map(|(name, result, rationale)| {
            (name.clone(), json!({ "criteria_id": name, "result": result, "rationale": rationale }))
        });
        let data = script.data.iter().map(|(name, value, rationale)| {
            (name.clone(), json!({ "data_collection_id": name, "value": value, "rationale": rationale }))
        });
        let analysis = json!({
            "call_successful": script.successful, "transcript_summary": script.summary,
            "call_summary_title": script.title,
            "evaluation_criteria_results": criteria.collect::<serde_json::Map<_, _>>(),
            "data_collection_results": data.collect::<serde_json::Map<_, _>>(),
        });
        let termination_reason = match script.ends {
            Ends::Agent => "end_call tool was used",
            Ends::Callee => "Call ended by remote party",
        };
        Self { turns, analysis, seconds, termination_reason, variables: Vec::new() }
    }

    /// A conversation that fails after the first answer.
    fn broken_off(pace: f64) -> Self {
        let turns = [
            Turn::Agent {
                agent: "Hello, this call is recorded. Do you have a moment?".to_owned(),
                tool: None,
            },
            Turn::User { user: "Yes, what is it about? Hello?".to_owned() },
        ];
        let (turns, seconds) = timed(&turns, pace);
        let analysis = json!({
            "call_successful": "failure", "transcript_summary": "The agent did not answer any more.",
            "call_summary_title": "Broken off", "evaluation_criteria_results": {}, "data_collection_results": {},
        });
        Self { turns, analysis, seconds, ..Self::default() }
    }

    fn with_machine(agent: &Agent, values: &[(&'static str, String)], pace: f64) -> Self {
        let said = |text: &str| match filled(text.into(), values) {
            Value::String(text) => text,
            _ => String::new(),
        };
        let turns = [
            Turn::User {
                user: "I cannot take your call at the moment. Please leave a message after the tone."
                    .to_owned(),
            },
            Turn::Agent { agent: said(&agent.message), tool: None },
        ];
        let (turns, seconds) = timed(&turns, pace);
        let analysis = json!({
            "call_successful": "unknown", "transcript_summary": said(&agent.message_summary),
            "call_summary_title": "Voicemail", "evaluation_criteria_results": {}, "data_collection_results": {},
        });
        let termination_reason = "voicemail_detection tool was used";
        Self { turns, analysis, seconds, termination_reason, variables: Vec::new() }
    }
}

/// The turns in ElevenLabs' form at `pace` seconds for a word, and the length of the conversation in seconds.
fn timed(turns: &[Turn], pace: f64) -> (Vec<Value>, i64) {
    let mut at = 0.0;
    let spoken = turns.iter().enumerate().map(|(n, turn)| {
        let (role, text, tool) = match turn {
            Turn::Agent { agent, tool } => ("agent", agent, tool.as_ref()),
            Turn::User { user } => ("user", user, None),
        };
        let begins = seconds(at);
        let words = u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX);
        at += f64::from(words) * pace + PAUSE + tool.map_or(0.0, |tool| tool.seconds);
        let (calls, results) = tool.map_or((Vec::new(), Vec::new()), |tool| of_tool(n, tool));
        json!({
            "role": role, "message": text, "time_in_call_secs": begins, "tool_calls": calls, "tool_results": results,
            "interrupted": false, "conversation_turn_metrics": null,
        })
    });
    let spoken = spoken.collect();
    (spoken, seconds(at))
}

/// The call of a tool and its result.
fn of_tool(n: usize, tool: &Tool) -> (Vec<Value>, Vec<Value>) {
    let id = format!("tool_{n}");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let call = json!({
        "request_id": id, "tool_name": tool.name, "params_as_json": text(&tool.arguments), "type": "webhook",
        "tool_has_been_called": true,
    });
    let result = json!({
        "request_id": id, "tool_name": tool.name, "result_value": text(&tool.result), "is_error": tool.is_error,
        "tool_has_been_called": true, "tool_latency_secs": tool.seconds, "type": "webhook",
    });
    (vec![call], vec![result])
}

fn seconds(time: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a conversation of the demo takes minutes")]
    {
        time.round() as i64
    }
}
