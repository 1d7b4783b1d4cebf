//! The variables that name parts of the workspace at ElevenLabs: `ELEVENLABS_EVENTS`, `AGENTS`, `CHANNELS`.

use serde::Deserialize;

/// The events that are bound by default. The first two decide the status of a call. The third is the only
/// carrier of the verdict whether a person or a machine answered.
pub const EVENTS: [&str; 3] = ["transcript", "call_initiation_failure", "answering_machine_detection"];

/// Whether `text` can be the id of an agent or of a batch. The id becomes a part of a path.
pub fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Whether `text` can be the name of an event or of a channel.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The items of a list with commas. An item that `is_valid` does not accept is an error.
fn list(text: &str, is_valid: fn(&str) -> bool, form: &str) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim).map(|item| {
        if is_valid(item) { Ok(item.to_owned()) } else { Err(format!("{item:?} must be {form}")) }
    });
    items.collect()
}

/// The names of events or of channels, from a list with commas. Not empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Names(Vec<String>);

impl Names {
    /// The names of [`EVENTS`].
    pub fn of_events() -> Self {
        Self(EVENTS.map(str::to_owned).to_vec())
    }

    /// The names, as ElevenLabs spells them.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether the list has this `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

impl TryFrom<String> for Names {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        list(&text, is_word, "lower-case letters, digits or '_', such as \"transcript\" or \"sip_trunk\"")
            .map(Self)
    }
}

/// The ids of agents, from a list with commas. Not empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AgentIds(Vec<String>);

impl AgentIds {
    /// The ids.
    pub fn ids(&self) -> &[String] {
        &self.0
    }

    /// Whether the list names the agent `id`.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|agent| agent == id)
    }
}

impl TryFrom<String> for AgentIds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        list(&text, is_id, "letters, digits, '_' or '-', as in the id of an agent").map(Self)
    }
}
