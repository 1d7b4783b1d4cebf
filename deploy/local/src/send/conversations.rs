//! Generates conversations: the webhooks of each, and the document that the worker has to store.

use jiff::Timestamp;

use super::scenario::{Call, Expected};
use crate::simulator::generated::{Evidence, Generated, sent};

/// Every conversation whose number is a multiple of this one is sent as an OpenTelemetry trace, if it has one.
const TRACE_EVERY: u32 = 4;

/// Generates conversation number `n`. A telephone call that is transferred has a second conversation.
pub fn calls(seed: u32, n: u32, now: Timestamp) -> Vec<Call> {
    let conversations = sent(seed, n, now);
    let as_trace = n.is_multiple_of(TRACE_EVERY);
    conversations.iter().enumerate().map(|(index, one)| call(one, index == 0, as_trace)).collect()
}

/// `has_call_id`: the document has `callId`. Only the first conversation of a telephone call has it.
fn call(one: &Generated, has_call_id: bool, as_trace: bool) -> Call {
    let evidence = Evidence { callbacks: false, failure: true, detection: true };
    let transcript = one.trace().filter(|_| as_trace).unwrap_or_else(|| one.webhook());
    let webhooks = [Some(transcript), one.failure(), one.detection()].into_iter().flatten().collect();
    let mut facts = one.facts();
    facts.insert("outcome".to_owned(), one.outcome(evidence).into());
    let has_turns = one.conversation["transcript"].as_array().is_some_and(|turns| !turns.is_empty());
    let expected = Expected {
        call_id: one.ids.call.clone().filter(|_| has_call_id),
        conversation_id: Some(one.ids.conversation.clone()),
        status: one.status(evidence),
        failure_reason: one.reason(evidence).map(str::to_owned),
        latest: None,
        transcript: has_turns,
        facts,
    };
    Call { webhooks, expected }
}
