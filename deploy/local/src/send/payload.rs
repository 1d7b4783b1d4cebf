//! Random details of a webhook: its ids, its time stamp, the reason of a failure.

use jiff::Timestamp;
use rand::{Rng, RngExt as _, seq::IndexedRandom as _};
use serde_json::{Value, json};

/// An event of a call.
#[derive(Clone, Debug)]
pub struct Event {
    /// `event_type` of the webhook.
    pub name: &'static str,
    /// The status that the event leads to.
    pub status: &'static str,
    /// Fields that explain a failure, with their texts. `None`: the event is no failure.
    pub failure: Option<Vec<(&'static str, &'static str)>>,
}

/// A failure and the reason that the worker has to derive from it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Expected value of `failureReason`.
    pub reason: String,
    event: Event,
}

/// Event type, status, and the reason that the worker writes for a failure without an explanation.
const FAILURES: [(&str, &str, &str); 7] = [
    ("call_initiation_failure", "initiation_failed", "Call could not be initiated"),
    ("call.busy", "busy", "Recipient was busy"),
    ("call.no_answer", "no_answer", "No answer from recipient"),
    ("call.failed", "failed", "Call failed"),
    ("call.canceled", "canceled", "Call was canceled"),
    ("call.unreachable", "unreachable", "Recipient was unreachable"),
    ("call.rejected", "rejected", "Call was rejected by recipient"),
];

/// Fields that may explain a failure, with possible texts. The worker prefers earlier fields.
const EXPLANATIONS: [(&str, [&str; 3]); 3] = [
    ("failure_reason", ["SIP 486 Busy Here", "Carrier released the call", "SIP 603 Decline"]),
    ("error_message", ["Upstream timed out", "No route to destination", "Trunk refused the call"]),
    ("message", ["The call did not connect", "Please try again later", "Nobody picked up"]),
];

impl Failure {
    /// Failure number `n`, explained by a random choice of the three fields.
    pub fn random(rng: &mut impl Rng, n: usize) -> Self {
        let (name, status, reason) = FAILURES[n % FAILURES.len()];
        let mut fields = Vec::new();
        for (field, texts) in &EXPLANATIONS {
            if rng.random_bool(0.5) {
                fields.push((*field, pick(rng, texts)));
            }
        }
        let reason = fields.first().map_or(reason, |(_, text)| text).to_owned();
        Self { reason, event: Event { name, status, failure: Some(fields) } }
    }

    /// The status of the failure.
    pub fn status(&self) -> &'static str {
        self.event.status
    }

    /// Whether the failure says more than that the call failed.
    pub fn is_specific(&self) -> bool {
        !matches!(self.event.status, "initiation_failed" | "failed")
    }

    /// The event that reports the failure.
    pub fn into_event(self) -> Event {
        self.event
    }
}

/// The ids that each event of a call carries.
#[derive(Clone, Debug)]
pub struct Ids {
    /// For each event: whether it carries the call id, and whether it carries the conversation id.
    carried: Vec<(bool, bool)>,
}

impl Ids {
    /// The same choice for all events, or a random mix. In a mix at least one event carries both ids, because
    /// otherwise the events could not be recognized as one call.
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
    pub fn carried_by_any(&self) -> (bool, bool) {
        self.carried.iter().fold((false, false), |known, of| (known.0 || of.0, known.1 || of.1))
    }
}

/// Format of the time stamps of a call's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    Rfc3339,
    UnixSeconds,
    /// Each event has a random one of the other formats.
    Mixed,
    None,
}

impl Timestamps {
    /// Any format.
    pub fn random(rng: &mut impl Rng) -> Self {
        pick(rng, &[Self::Rfc3339, Self::UnixSeconds, Self::Mixed, Self::None])
    }

    /// A format in which every event has a time stamp.
    pub fn random_complete(rng: &mut impl Rng) -> Self {
        pick(rng, &[Self::Rfc3339, Self::UnixSeconds])
    }

    /// Whether every event has a time stamp.
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

/// The participants of a call.
#[derive(Clone, Debug)]
pub struct Parties {
    to_number: Option<String>,
}

impl Parties {
    /// A number that is reserved for fiction, or no number.
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
    // ElevenLabs uses the same status for every failure.
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

/// A random element of `list`, which must not be empty.
pub fn pick<T: Copy>(rng: &mut impl Rng, list: &[T]) -> T {
    *list.choose(rng).expect("the lists are constant and not empty")
}
