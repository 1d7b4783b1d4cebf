//! Generates calls from a seed: the webhooks of each call, and the document that they must become.
//!
//! Pure. The scenarios rotate, so that a few calls already cover every event. Their details are random.

use jiff::Timestamp;
use rand::{Rng, RngExt as _};
use serde_json::{Map, Value};

use super::payload::{Event, Failure, Ids, Parties, Timestamps, webhook};

/// A generated call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Payloads of the webhooks, in the order of the events.
    pub webhooks: Vec<Value>,
    /// The document that they must become.
    pub expected: Expected,
}

/// Expected values of a call's document.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// `callId`.
    pub call_id: Option<String>,
    /// `conversationId`.
    pub conversation_id: Option<String>,
    /// `status`.
    pub status: &'static str,
    /// `failureReason`.
    pub failure_reason: Option<String>,
    /// Event type of `rawResponse`. `None` if the events lack time stamps, because then any of them may be
    /// the latest, and if the call has a transcript, because then the fetched conversation may be the latest.
    pub latest: Option<&'static str>,
    /// Whether the document must have a transcript.
    pub transcript: bool,
    /// Further fields with their values. Dates are Unix seconds. Null: the field must be absent.
    pub facts: Map<String, Value>,
}

/// The course of a call: a range of [`SUCCESSFUL_CALL`], then a number of failures.
#[derive(Clone, Copy)]
struct Scenario {
    first: usize,
    end: usize,
    failures: usize,
}

/// Event types of a call that succeeds, with their statuses.
const SUCCESSFUL_CALL: [(&str, &str); 5] = [
    ("call.initiated", "initiated"),
    ("call.ringing", "ringing"),
    ("call.answered", "answered"),
    ("call.completed", "completed"),
    ("call.ended", "ended"),
];
const COMPLETED: usize = 3;

const fn successful(end: usize) -> Scenario {
    Scenario { first: 0, end, failures: 0 }
}

const fn failing(end: usize, failures: usize) -> Scenario {
    Scenario { first: 0, end, failures }
}

/// The scenarios: mostly successful calls, and every way to fail.
const SCENARIOS: [Scenario; 20] = [
    successful(5),
    failing(1, 1), // Never rang.
    successful(5),
    successful(4), // Completed; its end is not reported.
    failing(2, 1), // Rang, then failed.
    successful(5),
    failing(0, 1), // Only the failure is reported.
    successful(3), // In conversation.
    successful(5),
    failing(4, 1), // Completed, then reported as failed.
    successful(2), // Ringing.
    failing(2, 1),
    successful(5),
    failing(1, 2), // Two failures: the specific one counts, else the later one.
    successful(1), // Initiated.
    failing(1, 1),
    Scenario { first: COMPLETED, end: 4, failures: 0 }, // Only the completion is reported.
    failing(5, 1),                                      // Ended, then reported as failed.
    successful(5),
    failing(0, 2),
];

/// Prefixes of conversation ids that select a script of the simulator, and their frequency: one in this many
/// completed calls. Most conversations are answered at once; a few make the worker wait.
const CONVERSATION_PREFIXES: [(&str, u32); 4] =
    [("conv_slow_", 37), ("conv_flaky_", 101), ("conv_busy_", 211), ("conv_", 1)];

/// Prefixes of the ids in `run`: of call ids, and of all kinds of conversation ids.
pub fn id_prefixes(run: &str) -> (String, Vec<String>) {
    (
        format!("call_{run}_"),
        CONVERSATION_PREFIXES.iter().map(|(prefix, _)| format!("{prefix}{run}_")).collect(),
    )
}

/// Generates call number `n` of `run`.
pub fn call(rng: &mut impl Rng, run: &str, n: u32, now: Timestamp) -> Call {
    let scenario = SCENARIOS[n as usize % SCENARIOS.len()];
    let steps = &SUCCESSFUL_CALL[scenario.first..scenario.end];
    let failures: Vec<_> =
        (0..scenario.failures).map(|k| Failure::random(rng, n as usize / 3 + k * 3)).collect();
    let mut events: Vec<Event> =
        steps.iter().map(|&(name, status)| Event { name, status, failure: None }).collect();
    events.extend(failures.iter().cloned().map(Failure::into_event));

    // Only time stamps can tell which of two failures is the later one.
    let timestamps =
        if scenario.failures > 1 { Timestamps::random_complete(rng) } else { Timestamps::random(rng) };
    let ids = Ids::random(rng, events.len());
    let is_completed = scenario.first <= COMPLETED && scenario.end > COMPLETED;
    let prefix = CONVERSATION_PREFIXES.iter().find(|(_, every)| is_completed && n % every == every - 1);
    let call_id = format!("call_{run}_{n}");
    let parties = Parties::random(rng);

    let begin = now.as_second() - rng.random_range(600..72_000);
    let prefix = prefix.map_or("conv_", |(prefix, _)| prefix);
    let conversation_id = format!("{prefix}{run}_{n}_at{begin:x}");
    let mut at = begin;
    let webhooks = events.iter().enumerate().map(|(k, event)| {
        at += rng.random_range(1..20);
        let (has_call, has_conversation) = ids.of(k);
        webhook(
            event,
            has_call.then_some(call_id.as_str()),
            has_conversation.then_some(conversation_id.as_str()),
            timestamps.text(rng, at),
            &parties,
        )
    });
    let webhooks = webhooks.collect();
    let (call_known, conversation_known) = ids.carried_by_any();
    let last_event = events.last();
    // The later failure prevails, but no general failure prevails over a specific one.
    let failure = failures.iter().enumerate().max_by_key(|(k, failure)| (failure.is_specific(), *k));
    let failure = failure.map(|(_, failure)| failure);
    let has_transcript = is_completed && conversation_known;
    let expected = Expected {
        call_id: call_known.then_some(call_id),
        conversation_id: conversation_known.then_some(conversation_id),
        status: failure.map_or(last_event.map_or("", |event| event.status), Failure::status),
        failure_reason: failure.map(|failure| failure.reason.clone()),
        latest: last_event.filter(|_| timestamps.is_complete() && !has_transcript).map(|event| event.name),
        transcript: has_transcript,
        // The conversation began when the call did.
        facts: has_transcript.then(|| ("startedAt".to_owned(), begin.into())).into_iter().collect(),
    };
    Call { webhooks, expected }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn calls(seed: u64, count: u32) -> Vec<Call> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..count).map(|n| call(&mut rng, "run", n, Timestamp::UNIX_EPOCH)).collect()
    }

    #[test]
    fn hundred_calls_cover_every_event_and_every_status() {
        let calls = calls(1, 100);
        let events: BTreeSet<_> = calls
            .iter()
            .flat_map(|call| &call.webhooks)
            .map(|webhook| webhook["event_type"].to_string())
            .collect();
        let statuses: BTreeSet<_> = calls.iter().map(|call| call.expected.status).collect();
        assert_eq!((events.len(), statuses.len()), (12, 12), "{events:?} {statuses:?}");
    }

    #[test]
    fn same_seed_generates_the_same_calls() {
        let webhooks = |seed| calls(seed, 50).into_iter().map(|call| call.webhooks).collect::<Vec<_>>();
        assert_eq!(webhooks(7), webhooks(7));
        assert_ne!(webhooks(7), webhooks(8));
    }

    #[test]
    fn every_webhook_has_an_id_and_one_webhook_links_both_ids() {
        for call in calls(2, 1_000) {
            let known = |webhook: &Value, field: &str| webhook.get(field).is_some();
            assert!(call.webhooks.iter().all(|w| known(w, "call_id") || known(w, "conversation_id")));
            if call.expected.call_id.is_some() && call.expected.conversation_id.is_some() {
                assert!(call.webhooks.iter().any(|w| known(w, "call_id") && known(w, "conversation_id")));
            }
        }
    }
}
