//! The changes to a call that follow from a conversation in progress. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{
    call::{CallPatch, Fact, FactValue, OwnEvent, TranscriptState},
    conversation::{Conversation, ConversationStatus},
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
    let started_at = match identity.facts.get(&Fact::StartedAt) {
        Some(FactValue::Time(time)) => Some(*time),
        _ => None,
    };
    let at = time_of_state(conversation, started_at, now);
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

/// When the conversation came into its current state.
fn time_of_state(conversation: &Conversation, started_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let is_over =
        !matches!(conversation.status(), ConversationStatus::Initiated | ConversationStatus::InProgress);
    let length =
        conversation.fields().get("metadata").and_then(|metadata| metadata["call_duration_secs"].as_u64());
    let length = length.filter(|_| is_over).unwrap_or(0);
    started_at
        .and_then(|start| start.checked_add(Duration::from_secs(length)).ok())
        .filter(|at| is_plausible(*at, now))
        .unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now))
}
