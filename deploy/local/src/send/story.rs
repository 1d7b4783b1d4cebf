//! Calls made up from a seed: what happens in each, and what its document must be in the end.
//!
//! Pure. The stories go round, so that even a few calls show every event; their details are random.

use jiff::Timestamp;
use rand::{Rng, RngExt as _, seq::IndexedRandom as _};
use serde_json::Value;

use super::payload::{Event, Failure, Ids, Parties, Times, webhook};

/// One call: its webhooks in the order in which they happened, and what they must become.
#[derive(Clone, Debug)]
pub struct Call {
    /// The payloads.
    pub webhooks: Vec<Value>,
    /// The document.
    pub expected: Expected,
}

/// What the document of a call must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub call_id: Option<String>,
    pub conversation_id: Option<String>,
    pub status: &'static str,
    pub failure_reason: Option<String>,
    /// Event type of `rawResponse`, where the events' own times say which is the latest.
    pub latest: Option<&'static str>,
    /// Whether the transcript must have been fetched.
    pub transcript: bool,
}

/// How a call goes: how many steps of a normal life, then how many failures.
#[derive(Clone, Copy)]
struct Story {
    first: usize,
    end: usize,
    failures: usize,
}

/// Event types of a normal life and their statuses.
const LIFE: [(&str, &str); 5] = [
    ("call.initiated", "initiated"),
    ("call.ringing", "ringing"),
    ("call.answered", "answered"),
    ("call.completed", "completed"),
    ("call.ended", "ended"),
];
const COMPLETED: usize = 3;

const fn life(end: usize) -> Story {
    Story { first: 0, end, failures: 0 }
}

const fn failing(end: usize, failures: usize) -> Story {
    Story { first: 0, end, failures }
}

/// Mostly calls that go well, and everything that can go wrong.
const STORIES: [Story; 20] = [
    life(5),
    failing(1, 1), // Never rang.
    life(5),
    life(4),       // Completed, the end not told.
    failing(2, 1), // Rang, then failed.
    life(5),
    failing(0, 1), // The failure is all that is told.
    life(3),       // Talking.
    life(5),
    failing(4, 1), // Completed, then said to have failed.
    life(2),       // Ringing.
    failing(2, 1),
    life(5),
    failing(1, 2), // Two failures: the later one counts.
    life(1),       // Just begun.
    failing(1, 1),
    Story { first: COMPLETED, end: 4, failures: 0 }, // Completed is all that is told.
    failing(5, 1),                                   // Ended, then said to have failed.
    life(5),
    failing(0, 2),
];

/// Prefixes by which the simulated API treats a conversation (see `simulator`): most are answered at
/// once, a few make the worker wait.
const VARIETIES: [(&str, u32); 4] =
    [("conv_slow_", 37), ("conv_flaky_", 101), ("conv_busy_", 211), ("conv_", 1)];

/// Beginnings of the ids in `run`: of call ids, and of every variety of conversation id.
pub fn id_prefixes(run: &str) -> (String, Vec<String>) {
    (format!("call_{run}_"), VARIETIES.iter().map(|(variety, _)| format!("{variety}{run}_")).collect())
}

/// Makes up call number `n` of `run`.
pub fn call(rng: &mut impl Rng, run: &str, n: u32, now: Timestamp) -> Call {
    let story = STORIES[n as usize % STORIES.len()];
    let steps = &LIFE[story.first..story.end];
    let failures: Vec<_> =
        (0..story.failures).map(|k| Failure::random(rng, n as usize / 3 + k * 3)).collect();
    let mut events: Vec<Event> =
        steps.iter().map(|&(name, status)| Event { name, status, failure: None }).collect();
    events.extend(failures.iter().cloned().map(Failure::into_event));

    // Only their times tell which of two failures is the later one.
    let times = if story.failures > 1 { Times::timed(rng) } else { Times::random(rng) };
    let ids = Ids::random(rng, events.len());
    let is_completed = story.first <= COMPLETED && story.end > COMPLETED;
    let variety = VARIETIES.iter().find(|(_, every)| is_completed && n % every == every - 1);
    let conversation_id = format!("{}{run}_{n}", variety.map_or("conv_", |(prefix, _)| prefix));
    let call_id = format!("call_{run}_{n}");
    let parties = Parties::random(rng);

    let begin = now.as_second() - rng.random_range(600..72_000);
    let mut at = begin;
    let webhooks = events.iter().enumerate().map(|(k, event)| {
        at += rng.random_range(1..20);
        let (has_call, has_conversation) = ids.of(k);
        webhook(
            event,
            has_call.then_some(call_id.as_str()),
            has_conversation.then_some(conversation_id.as_str()),
            times.text(rng, at),
            &parties,
        )
    });
    let webhooks = webhooks.collect();
    let (last_event, last_failure) = (events.last(), failures.last());
    let (call_known, conversation_known) = ids.known();
    let expected = Expected {
        call_id: call_known.then_some(call_id),
        conversation_id: conversation_known.then_some(conversation_id),
        status: last_event.map_or("", |event| event.status),
        failure_reason: last_failure.map(|failure| failure.reason.clone()),
        latest: last_event.filter(|_| times.is_complete()).map(|event| event.name),
        transcript: is_completed && conversation_known,
    };
    Call { webhooks, expected }
}

/// A random element of a list that is never empty.
pub fn pick<T: Copy>(rng: &mut impl Rng, list: &[T]) -> T {
    *list.choose(rng).expect("the lists are constant and not empty")
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
    fn a_hundred_calls_show_every_event_and_every_status() {
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
    fn the_same_seed_makes_the_same_calls() {
        let webhooks = |seed| calls(seed, 50).into_iter().map(|call| call.webhooks).collect::<Vec<_>>();
        assert_eq!(webhooks(7), webhooks(7));
        assert_ne!(webhooks(7), webhooks(8));
    }

    #[test]
    fn every_webhook_names_its_call_and_both_ids_are_linked() {
        for call in calls(2, 1_000) {
            let known = |webhook: &Value, field: &str| webhook.get(field).is_some();
            assert!(call.webhooks.iter().all(|w| known(w, "call_id") || known(w, "conversation_id")));
            if call.expected.call_id.is_some() && call.expected.conversation_id.is_some() {
                assert!(call.webhooks.iter().any(|w| known(w, "call_id") && known(w, "conversation_id")));
            }
        }
    }
}
