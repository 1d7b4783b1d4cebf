//! The changes to a call that follow from a conversation in progress. Pure.

use jiff::Timestamp;

use crate::domain::{
    call::{CallPatch, Fact, FactValue, OwnEvent, TranscriptState},
    conversation::Conversation,
    event::{CallId, ConversationId, identity, is_plausible},
};

/// The changes to a call that follow from its conversation, which has no event yet. Two requests for the same
/// state give the same patch.
pub fn observe(
    call_id: Option<CallId>,
    conversation_id: ConversationId,
    conversation: &Conversation,
    now: Timestamp,
) -> CallPatch {
    let (word, status) = (conversation.status().as_str(), conversation.status().call_status());
    let identity = identity(conversation.fields(), now);
    let time = |fact: Fact| match identity.facts.get(&fact) {
        Some(FactValue::Time(time)) => Some(*time),
        _ => None,
    };
    let started_at = time(Fact::StartedAt);
    let changed_at = time(Fact::EndedAt).or(started_at).filter(|at| is_plausible(*at, now));
    let at = changed_at.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let event = OwnEvent {
        id: format!("elevenlabs:{}:{word}", conversation_id.as_str()),
        event_type: format!("conversation.{word}"),
        origin: "lookup",
        status,
        received_status: Some(word.to_owned()),
        failure_reason: status.is_failure().then(|| "The conversation failed".to_owned()),
        at,
        stored_at: Some(now),
    };
    CallPatch {
        call_id: call_id.or(identity.call_id),
        conversation_id: Some(conversation_id),
        parties: identity.parties,
        facts: identity.facts,
        transcript: status.ends_conversation().then_some(TranscriptState::Pending),
        pending_since: status.ends_conversation().then_some(now),
        created_at: started_at.unwrap_or(at),
        ..event.into()
    }
}
