//! The changes to a call that follow from a conversation in progress. Pure.

use jiff::Timestamp;

use super::Conversation;
use crate::domain::{
    call::{CallPatch, OutcomeClaim, OwnEvent, TranscriptState},
    event::{CallId, ConversationId, conversation_facts, is_plausible},
};

/// The beginning of the event type of an observed state, in the history of a call.
pub const OBSERVATION: &str = "conversation.";

/// The changes to a call that follow from its conversation, which has no event yet. Two requests for the same
/// state give the same event id, so the state counts once.
pub fn observe(
    call_id: Option<CallId>,
    conversation_id: ConversationId,
    conversation: &Conversation,
    now: Timestamp,
) -> CallPatch {
    let (word, status) = (conversation.status().as_str(), conversation.status().call_status());
    let facts = conversation_facts(conversation.fields(), status, now);
    let changed_at = facts.times.concluded_at().filter(|at| is_plausible(*at, now));
    let at = changed_at.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let event = OwnEvent {
        id: format!("elevenlabs:{}:{word}", conversation_id.as_str()),
        event_type: format!("{OBSERVATION}{word}"),
        origin: "lookup",
        status,
        received_status: Some(word.to_owned()),
        failure_reason: status.is_failure().then(|| "The conversation failed".to_owned()),
        at,
        stored_at: Some(now),
    };
    let outcome = facts.outcome.map(|outcome| OutcomeClaim {
        outcome,
        at,
        event_id: event.id.clone(),
        is_over: status.is_finished(),
    });
    CallPatch {
        // ElevenLabs knows better than a request which call a conversation belongs to.
        call_id: facts.call_id.or(call_id),
        conversation_id: Some(conversation_id),
        parties: facts.parties,
        facts: facts.facts,
        transcript: status.ends_conversation().then_some(TranscriptState::Pending),
        pending_since: status.ends_conversation().then_some(now),
        created_at: facts.times.began_at().unwrap_or(at),
        outcome,
        ..event.into()
    }
    .with_number_suffixes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::call::{Outcome, Status};

    #[test]
    fn a_conversation_says_the_result_of_its_call_before_its_transcript_is_made() {
        #[rustfmt::skip]
        let table = [ // state, result, status, outcome, whether the outcome is shown
            ("in-progress", "answered",  Status::Answered,  None,                     false),
            ("in-progress", "voicemail", Status::Answered,  Some(Outcome::Voicemail), false),
            ("processing",  "answered",  Status::Completed, Some(Outcome::Answered),  true),
            ("processing",  "voicemail", Status::Completed, Some(Outcome::Voicemail), true),
        ];
        let now = Timestamp::from_second(1_790_000_300).unwrap();
        for (state, result, status, outcome, is_over) in table {
            let conversation = json!({ "status": state, "metadata": {
                "start_time_unix_secs": 1_790_000_000, "call_duration_secs": 60,
                "phone_call": { "call_result": result },
            } });
            let conversation: Conversation = serde_json::from_value(conversation).unwrap();
            let patch = observe(None, ConversationId::new("v").unwrap(), &conversation, now);
            let (claim, second) = (patch.status.unwrap(), if is_over { 60 } else { 0 });
            assert_eq!((claim.status, claim.at.as_second()), (status, 1_790_000_000 + second), "{state}");
            assert_eq!(patch.outcome.as_ref().map(|claim| claim.outcome), outcome, "{state} {result}");
            assert!(patch.outcome.is_none_or(|claim| claim.is_over == is_over), "{state} {result}");
        }
    }
}
