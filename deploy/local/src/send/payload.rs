//! The details of one webhook: which ids it carries, how it tells the time, why a call failed.

use jiff::Timestamp;
use rand::{Rng, RngExt as _};
use serde_json::{Value, json};

use super::story::pick;

/// Something that happens in a call.
#[derive(Clone, Debug)]
pub struct Event {
    /// The event type on the wire.
    pub name: &'static str,
    /// The status it must lead to.
    pub status: &'static str,
    /// The fields that explain a failure.
    pub failure: Option<Vec<(&'static str, &'static str)>>,
}

/// A failure and the reason that must be found for it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What must be in `failureReason`.
    pub reason: String,
    event: Event,
}

/// Event type, status, and the words for a failure that does not explain itself.
const FAILURES: [(&str, &str, &str); 7] = [
    ("call_initiation_failure", "initiation_failed", "Call could not be initiated"),
    ("call.busy", "busy", "Recipient was busy"),
    ("call.no_answer", "no_answer", "No answer from recipient"),
    ("call.failed", "failed", "Call failed"),
    ("call.canceled", "canceled", "Call was canceled"),
    ("call.unreachable", "unreachable", "Recipient was unreachable"),
    ("call.rejected", "rejected", "Call was rejected by recipient"),
];

/// The fields that may explain a failure, the most telling first, with what they may say.
const EXPLANATIONS: [(&str, [&str; 3]); 3] = [
    ("failure_reason", ["SIP 486 Busy Here", "Carrier released the call", "SIP 603 Decline"]),
    ("error_message", ["Upstream timed out", "No route to destination", "Trunk refused the call"]),
    ("message", ["The call did not connect", "Please try again later", "Nobody picked up"]),
];

impl Failure {
    /// Failure number `n`, explained by any of the three fields, or by none.
    pub fn random(rng: &mut impl Rng, n: usize) -> Self {
        let (name, status, words) = FAILURES[n % FAILURES.len()];
        let mut fields = Vec::new();
        for (field, texts) in &EXPLANATIONS {
            if rng.random_bool(0.5) {
                fields.push((*field, pick(rng, texts)));
            }
        }
        let reason = fields.first().map_or(words, |(_, text)| text).to_owned();
        Self { reason, event: Event { name, status, failure: Some(fields) } }
    }

    /// The event that tells of it.
    pub fn into_event(self) -> Event {
        self.event
    }
}

/// Which of the two ids the events of a call carry.
#[derive(Clone, Debug)]
pub struct Ids {
    /// (call id, conversation id) for each event.
    carried: Vec<(bool, bool)>,
}

impl Ids {
    /// All the same, or mixed with at least one event that carries both: nothing else could tell
    /// that they are one call.
    pub fn random(rng: &mut impl Rng, events: usize) -> Self {
        const COMBINATIONS: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];
        let carried = if rng.random_bool(0.5) {
            vec![pick(rng, &COMBINATIONS); events]
        } else {
            let mut mixed: Vec<_> = (0..events).map(|_| pick(rng, &COMBINATIONS)).collect();
            mixed[rng.random_range(0..events)] = (true, true);
            mixed
        };
        Self { carried }
    }

    /// Whether event `n` carries the call id, and whether it carries the conversation id.
    pub fn of(&self, n: usize) -> (bool, bool) {
        self.carried[n]
    }

    /// Whether any event carries the call id, and whether any carries the conversation id.
    pub fn known(&self) -> (bool, bool) {
        self.carried.iter().fold((false, false), |known, of| (known.0 || of.0, known.1 || of.1))
    }
}

/// How the events of a call tell when they happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    Rfc3339,
    UnixSeconds,
    /// Some do, in either way, some do not.
    Mixed,
    None,
}

impl Times {
    /// Any.
    pub fn random(rng: &mut impl Rng) -> Self {
        pick(rng, &[Self::Rfc3339, Self::UnixSeconds, Self::Mixed, Self::None])
    }

    /// Every event tells its time.
    pub fn timed(rng: &mut impl Rng) -> Self {
        pick(rng, &[Self::Rfc3339, Self::UnixSeconds])
    }

    /// Whether every event tells its time.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Rfc3339 | Self::UnixSeconds)
    }

    /// The `timestamp` of an event that happened at the second `at`.
    pub fn text(self, rng: &mut impl Rng, at: i64) -> Option<Value> {
        match self {
            Self::Rfc3339 => Timestamp::from_second(at).ok().map(|time| time.to_string().into()),
            Self::UnixSeconds => Some(at.into()),
            Self::Mixed => pick(rng, &[Self::Rfc3339, Self::UnixSeconds, Self::None]).text(rng, at),
            Self::None => None,
        }
    }
}

/// Who takes part, on the payloads that say so.
#[derive(Clone, Debug)]
pub struct Parties {
    to_number: Option<String>,
}

impl Parties {
    /// A number reserved for fiction, or nothing.
    pub fn random(rng: &mut impl Rng) -> Self {
        Self { to_number: rng.random_bool(0.7).then(|| format!("+120255501{:02}", rng.random_range(0..100))) }
    }
}

/// The flat payload of one event.
pub fn webhook(
    event: &Event,
    call_id: Option<&str>,
    conversation_id: Option<&str>,
    timestamp: Option<Value>,
    parties: &Parties,
) -> Value {
    // The sender's own word for every failure is the same.
    let status = if event.failure.is_some() { "failed" } else { event.status };
    let mut payload = json!({ "event_type": event.name, "status": status });
    let mut set = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            payload[field] = value;
        }
    };
    set("call_id", call_id.map(Value::from));
    set("conversation_id", conversation_id.map(Value::from));
    set("timestamp", timestamp);
    if let Some(number) = &parties.to_number {
        set("to_number", Some(number.as_str().into()));
        set("agent_id", Some("agent_simulated".into()));
        set("agent_phone_number_id", Some("phnum_simulated".into()));
    }
    for (field, text) in event.failure.iter().flatten() {
        set(field, Some((*text).into()));
    }
    payload
}
