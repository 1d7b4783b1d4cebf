//! The invented agents of the demo and their conversations, read from `agents.json`. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::simulator::generated::{Channel, Ending};

/// An agent and the calls that it makes or takes in one campaign.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub id: String,
    pub name: String,
    /// The number of the agent.
    pub number: String,
    pub number_id: String,
    channel: ChannelName,
    /// Whether the agent is called.
    #[serde(default)]
    pub inbound: bool,
    /// Name of the batch of its calls. `None`: the calls are not in a batch.
    pub batch: Option<String>,
    /// Number of calls on its busiest day.
    pub calls: u32,
    /// First and last call, in minutes before the end of the campaign.
    pub from_minutes: i64,
    pub to_minutes: i64,
    shares: Shares,
    /// What the agent says to a machine.
    pub message: String,
    pub message_summary: String,
    scripts: Vec<Scripted>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChannelName {
    Twilio,
    SipTrunk,
}

/// Endings in percent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    answered: u32,
    voicemail: u32,
    no_answer: u32,
    busy: u32,
    rejected: u32,
    not_connected: u32,
    failed: u32,
}

/// A conversation with a weight among the conversations of its agent.
#[derive(Clone, Debug, Deserialize)]
struct Scripted {
    share: u32,
    /// A [`Script`] with placeholders such as `{first}`.
    #[serde(flatten)]
    script: Map<String, Value>,
}

/// A conversation between an agent and a person.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub title: String,
    pub summary: String,
    /// ElevenLabs' result: `success`, `failure` or `unknown`.
    pub successful: String,
    pub ends: Ends,
    pub turns: Vec<Turn>,
    /// Evaluation criteria: name, result, rationale.
    pub criteria: Vec<(String, String, String)>,
    /// Collected data: name, value, rationale.
    pub data: Vec<(String, Value, String)>,
}

/// The party that ends a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    Agent,
    Callee,
}

/// What one party says.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Turn {
    Agent { agent: String, tool: Option<Tool> },
    User { user: String },
}

/// A tool that the agent uses while it speaks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: String,
    pub arguments: Value,
    pub result: Value,
    /// Time until its result, in seconds.
    pub seconds: f64,
    #[serde(default)]
    pub is_error: bool,
}

/// The agents of a campaign.
pub fn agents() -> Vec<Agent> {
    serde_json::from_str(include_str!("agents.json")).expect("a test reads the file")
}

impl Agent {
    /// The channel of its calls.
    pub fn channel(&self) -> Channel {
        match self.channel {
            ChannelName::Twilio => Channel::Twilio,
            ChannelName::SipTrunk => Channel::SipTrunk,
        }
    }

    /// The ending of the call at `share`, from 0 to 1.
    pub fn ending(&self, share: f64) -> Ending {
        let Shares { answered, voicemail, no_answer, busy, rejected, not_connected, failed } = self.shares;
        let shares = [
            (Ending::Voicemail, voicemail),
            (Ending::NoAnswer, no_answer),
            (Ending::Busy, busy),
            (Ending::Rejected, rejected),
            (Ending::NotConnected, not_connected),
            (Ending::Failed, failed),
            (Ending::Answered, answered),
        ];
        choose(&shares, share).copied().unwrap_or(Ending::Answered)
    }

    /// The conversation at `share`, from 0 to 1. Fills in the placeholders with `values`.
    pub fn script(&self, share: f64, values: &[(&str, String)]) -> Script {
        let weighted: Vec<_> =
            self.scripts.iter().map(|scripted| (&scripted.script, scripted.share)).collect();
        let script = choose(&weighted, share).map(|script| Value::Object((*script).clone()));
        let filled = filled(script.unwrap_or_default(), values);
        serde_json::from_value(filled).expect("a test reads every script")
    }
}

/// The item of `weighted` at `share` of the sum of all weights.
fn choose<T>(weighted: &[(T, u32)], share: f64) -> Option<&T> {
    let total: u32 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut left = share * f64::from(total);
    let found = weighted.iter().find(|(_, weight)| {
        left -= f64::from(*weight);
        left < 0.0
    });
    found.or(weighted.last()).map(|(item, _)| item)
}

/// `value` with `values` in place of the texts that they replace, in every text.
pub fn filled(value: Value, values: &[(&str, String)]) -> Value {
    match value {
        Value::String(text) => {
            Value::String(values.iter().fold(text, |text, (name, value)| text.replace(name, value)))
        }
        Value::Array(items) => items.into_iter().map(|item| filled(item, values)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, field)| (name, filled(field, values))).collect()
        }
        other => other,
    }
}
