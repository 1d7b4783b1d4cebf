//! Which messages an endpoint gets. Pure.

use aftercall_common::contract::provider::Provider;
use serde_json::Value;

use super::{EventType, Kind};

/// Most entries of one list.
const MAX_ENTRIES: usize = 100;
/// Longest entry, in bytes.
const MAX_LENGTH: usize = 200;
/// The subjects of all events.
const ALL_EVENTS: &str = "calls.*";
/// The subjects of webhooks of all providers. Not of what reconciliation published, which no provider has sent.
const ALL_PROVIDERS: &str = "webhooks.*.call-status";

/// The messages that an endpoint gets. An empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Types of events; of a raw endpoint, providers of webhooks.
    pub types: Vec<String>,
    /// Agents (`agentId`).
    pub agents: Vec<String>,
    /// Batch calls (`batchCallId`).
    pub batches: Vec<String>,
}

impl Filter {
    /// Checks the filter of an endpoint of this kind.
    ///
    /// # Errors
    /// A type does not exist, a list is too long, or the kind has no agents and batches. The error is a sentence.
    pub fn check(&self, kind: Kind) -> Result<(), String> {
        let known: Vec<&str> = match kind {
            Kind::Events => EventType::ALL.map(EventType::as_str).to_vec(),
            Kind::Raw => Provider::ALL.iter().map(|provider| provider.word()).collect(),
        };
        if let Some(unknown) = self.types.iter().find(|name| !known.contains(&name.as_str())) {
            let kind = kind.as_str();
            return Err(format!(
                "{unknown:?} is no type of the kind {kind}; the types are {}",
                known.join(", ")
            ));
        }
        if kind == Kind::Raw && !(self.agents.is_empty() && self.batches.is_empty()) {
            let reason =
                "an endpoint of the kind raw gets webhooks as they came, so it has no agents and batches";
            return Err(reason.to_owned());
        }
        let fits = |list: &Vec<String>| {
            list.len() <= MAX_ENTRIES && list.iter().all(|entry| (1..=MAX_LENGTH).contains(&entry.len()))
        };
        if [&self.types, &self.agents, &self.batches].into_iter().all(fits) {
            return Ok(());
        }
        Err(format!("a filter has at most {MAX_ENTRIES} entries, each of 1 to {MAX_LENGTH} bytes"))
    }

    /// The subject of the messages that an endpoint of this kind may get. It may have wildcards, and then includes
    /// messages that the endpoint does not get.
    ///
    /// One subject only: nats-server 2.15.1 skips messages if a consumer has several filters and a start time.
    pub fn subject(&self, kind: Kind) -> &'static str {
        match (kind, self.types.as_slice()) {
            (Kind::Events, [name]) => EventType::parse(name).map_or(ALL_EVENTS, EventType::subject),
            (Kind::Events, _) => ALL_EVENTS,
            (Kind::Raw, [name]) => {
                let provider = Provider::ALL.iter().find(|provider| provider.word() == name);
                provider.map_or(ALL_PROVIDERS, |provider| provider.subject())
            }
            (Kind::Raw, _) => ALL_PROVIDERS,
        }
    }

    /// Whether the endpoint gets webhooks of `provider`.
    pub fn matches_provider(&self, provider: Provider) -> bool {
        self.has_type(provider.word())
    }

    /// Whether the endpoint gets messages of the type `name`, which this version need not know.
    pub fn has_type(&self, name: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted == name)
    }

    /// Whether the endpoint gets the event of this type with this `data`.
    ///
    /// An event about a call whose agent or batch is unknown matches no list of them. `call.erased` matches every such
    /// list, because it has nothing but ids, and a receiver must be able to erase what it has.
    pub fn matches(&self, event: EventType, data: &Value) -> bool {
        let has = |list: &[String], field: &str| {
            list.is_empty() || data[field].as_str().is_some_and(|id| list.iter().any(|wanted| wanted == id))
        };
        self.has_type(event.as_str())
            && (event == EventType::Erased
                || (has(&self.agents, "agentId") && has(&self.batches, "batchCallId")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn types_must_exist_and_raw_endpoints_have_providers_only() {
        let of = |types: &[&str], agents: &[&str]| Filter {
            types: list(types),
            agents: list(agents),
            ..Filter::default()
        };
        #[rustfmt::skip]
        let table = [
            (of(&[], &[]),                           Kind::Events, true),
            (of(&["call.status"], &["agent_1"]),     Kind::Events, true),
            (of(&["status"], &[]),                   Kind::Events, false),
            (of(&[], &[""]),                         Kind::Events, false),
            (of(&["elevenlabs"], &[]),               Kind::Raw,    true),
            (of(&["call.status"], &[]),              Kind::Raw,    false),
            (of(&[], &["agent_1"]),                  Kind::Raw,    false),
        ];
        for (filter, kind, is_valid) in table {
            assert_eq!(filter.check(kind).is_ok(), is_valid, "{filter:?} {kind:?}");
        }
        assert!(of(&[], &vec!["a"; 101]).check(Kind::Events).is_err());
    }

    #[test]
    fn one_subject_covers_the_types() {
        let filter = |types: &[&str]| Filter { types: list(types), ..Filter::default() };
        assert_eq!(filter(&["call.outcome"]).subject(Kind::Events), "calls.outcome");
        assert_eq!(filter(&["call.outcome", "call.status"]).subject(Kind::Events), "calls.*");
        assert_eq!(filter(&["elevenlabs"]).subject(Kind::Raw), "webhooks.elevenlabs.call-status");
        assert_eq!(filter(&[]).subject(Kind::Raw), "webhooks.*.call-status");
        let some = filter(&["call.outcome", "call.status"]);
        assert!(some.matches(EventType::Status, &json!({})) && !some.matches(EventType::Created, &json!({})));
        assert!(!some.matches(EventType::Erased, &json!({})));
        let twilio = filter(&["twilio"]);
        assert!(twilio.matches_provider(Provider::Twilio) && !twilio.matches_provider(Provider::ElevenLabs));
    }

    #[test]
    fn agents_and_batches_select_events_and_erased_calls_match_always() {
        let filter = Filter { agents: list(&["a", "b"]), batches: list(&["x"]), ..Filter::default() };
        let matches = |event, data: Value| filter.matches(event, &data);
        assert!(matches(EventType::Status, json!({ "agentId": "b", "batchCallId": "x" })));
        assert!(!matches(EventType::Status, json!({ "agentId": "c", "batchCallId": "x" })));
        assert!(!matches(EventType::Status, json!({ "agentId": "a" })));
        assert!(matches(EventType::Erased, json!({ "callId": "c" })));
        assert!(Filter::default().matches(EventType::Status, &json!({})));
    }
}
