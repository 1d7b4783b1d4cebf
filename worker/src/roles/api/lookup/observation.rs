//! The changes to a call that follow from its conversation at ElevenLabs. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{
        call::{CallPatch, OwnEvent, Status, TranscriptState},
        event::{CallId, ConversationId, Parties, is_plausible, lenient_id, never_connected},
        text::{MAX_PARTY, MAX_REASON, cut},
    },
    elevenlabs::{Conversation, ConversationStatus},
};

/// The changes to a call that follow from its conversation. Two requests for the same state give the same
/// event.
pub fn observe(
    call_id: Option<CallId>,
    conversation_id: ConversationId,
    conversation: &Conversation,
    now: Timestamp,
) -> CallPatch {
    let call = conversation.metadata.phone_call.as_ref();
    // The webhook of this conversation claims the same status, so its arrival changes nothing.
    let unconnected = call.and_then(|call| never_connected(call.call_result.as_deref()?));
    let status = unconnected.map_or(conversation.status.call_status(), |_| Status::InitiationFailed);
    let (started_at, at) = times(conversation, now);
    let reason = unconnected.or(conversation.failure_reason()).unwrap_or("The conversation failed");
    let event = OwnEvent {
        id: format!("elevenlabs:{}:{}", conversation_id.as_str(), conversation.status.as_str()),
        event_type: format!("conversation.{}", conversation.status.as_str()),
        origin: "lookup",
        status,
        received_status: Some(conversation.status.as_str().to_owned()),
        failure_reason: status.is_failure().then(|| cut(reason, MAX_REASON)),
        at,
        stored_at: Some(now),
    };
    CallPatch {
        call_id: call_id.or_else(|| lenient_id(&call?.call_sid, CallId::new)),
        conversation_id: Some(conversation_id),
        parties: parties(conversation),
        transcript: status.ends_conversation().then_some(TranscriptState::Pending),
        pending_since: status.ends_conversation().then_some(now),
        created_at: started_at.unwrap_or(at),
        ..event.into()
    }
}

/// The start of the conversation if it is valid, and the time of its current state.
fn times(conversation: &Conversation, now: Timestamp) -> (Option<Timestamp>, Timestamp) {
    let metadata = &conversation.metadata;
    let started_at = metadata.start_time_unix_secs.and_then(|start| Timestamp::from_second(start).ok());
    let started_at = started_at.filter(|start| is_plausible(*start, now));
    let is_over =
        !matches!(conversation.status, ConversationStatus::Initiated | ConversationStatus::InProgress);
    let length = metadata.call_duration_secs.filter(|_| is_over).unwrap_or(0).max(0).unsigned_abs();
    let at = started_at
        .and_then(|start| start.checked_add(Duration::from_secs(length)).ok())
        .filter(|at| is_plausible(*at, now))
        .unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    (started_at, at)
}

fn parties(conversation: &Conversation) -> Parties {
    let call = conversation.metadata.phone_call.as_ref();
    let party = |text: Option<&String>| {
        text.map(|text| text.trim()).filter(|text| !text.is_empty()).map(|text| cut(text, MAX_PARTY))
    };
    Parties {
        agent_id: party(conversation.agent_id.as_ref()),
        agent_phone_number_id: party(call.and_then(|call| call.phone_number_id.as_ref())),
        to_number: party(call.and_then(|call| call.external_number.as_ref())),
    }
}
