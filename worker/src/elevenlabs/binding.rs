//! The binding of a workspace or of an agent: the webhook, its events and the format of transcripts. Pure.

use serde_json::{Map, Value, json};

/// The format of transcripts that the worker reads.
pub const TRANSCRIPT_FORMAT: &str = "json";

const WEBHOOK_ID: &str = "post_call_webhook_id";

/// A binding with all its keys, also those that the worker does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding(Map<String, Value>);

impl Binding {
    /// Wraps the object `webhooks` of the settings. Anything but an object counts as empty.
    pub fn new(webhooks: &Value) -> Self {
        Self(webhooks.as_object().cloned().unwrap_or_default())
    }

    /// All keys.
    pub fn keys(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The id of the bound webhook. `None` in an agent: the binding of the workspace applies (guessed).
    pub fn webhook_id(&self) -> Option<&str> {
        self.0.get(WEBHOOK_ID).and_then(Value::as_str).filter(|id| !id.is_empty())
    }

    /// The bound events.
    pub fn events(&self) -> Vec<&str> {
        let events = self.0.get("events").and_then(Value::as_array).into_iter().flatten();
        events.filter_map(Value::as_str).collect()
    }

    /// The format of transcripts. `None`: ElevenLabs does not name one.
    pub fn transcript_format(&self) -> Option<&str> {
        self.0.get("transcript_format").and_then(Value::as_str)
    }

    /// Those of the `wanted` events that are not bound.
    pub fn missing_events(&self, wanted: &[impl AsRef<str>]) -> Vec<String> {
        let bound = self.events();
        let wanted = wanted.iter().map(AsRef::as_ref);
        wanted.filter(|event| !bound.contains(event)).map(str::to_owned).collect()
    }

    /// The bound events, followed by the `wanted` events that are not bound yet.
    pub fn events_with(&self, wanted: &[impl AsRef<str>]) -> Vec<String> {
        let mut events: Vec<_> = self.events().into_iter().map(str::to_owned).collect();
        events.extend(self.missing_events(wanted));
        events
    }

    /// This binding, with the webhook `id`, the `wanted` events in addition, and transcripts as JSON. All
    /// other keys stay.
    #[must_use]
    pub fn bound_to(&self, id: &str, wanted: &[impl AsRef<str>]) -> Self {
        let mut keys = self.0.clone();
        keys.insert(WEBHOOK_ID.to_owned(), id.into());
        keys.insert("events".to_owned(), json!(self.events_with(wanted)));
        keys.insert("transcript_format".to_owned(), TRANSCRIPT_FORMAT.into());
        Self(keys)
    }
}
