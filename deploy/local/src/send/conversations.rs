//! Generated conversations in ElevenLabs' own form, and the documents that they must become.

use jiff::Timestamp;

use super::scenario::{Call, Expected};
use crate::simulator::generated::{Evidence, Generated, sent};

/// One conversation in so many is sent as an OpenTelemetry trace, if it has one.
const TRACES: u32 = 4;

/// The conversations number `n`: one, or two on one telephone call.
pub fn calls(seed: u32, n: u32, now: Timestamp) -> Vec<Call> {
    let all = sent(seed, n, now);
    all.iter().enumerate().map(|(part, one)| call(one, part == 0, n.is_multiple_of(TRACES))).collect()
}

/// `has_call_id`: this document of the telephone call has its id.
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
