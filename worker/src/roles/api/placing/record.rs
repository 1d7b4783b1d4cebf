//! The stored outcome of a placement, and the answer to its request. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    domain::{
        call::{CallPatch, OwnEvent, Placement, Status},
        event::{CallId, ConversationId, PlacementId},
    },
    elevenlabs::Accepted,
    store::CallView,
};

/// The changes to the call that follow from ElevenLabs' answer. `failure`: why ElevenLabs refused the call.
pub fn patch(id: &PlacementId, accepted: Accepted, failure: Option<&str>, now: Timestamp) -> CallPatch {
    let status = if failure.is_some() { Status::InitiationFailed } else { Status::Initiated };
    let event_type = if failure.is_some() { "placement.refused" } else { "placement.accepted" };
    let event = OwnEvent {
        id: format!("placement:{}:{status}", id.as_str()),
        event_type: event_type.to_owned(),
        origin: "placement",
        status,
        received_status: None,
        failure_reason: failure.map(str::to_owned),
        at: now,
        stored_at: Some(now),
    };
    CallPatch {
        call_id: accepted.call_id,
        conversation_id: accepted.conversation_id,
        placement: Some(Placement { id: id.clone(), request: None }),
        ..event.into()
    }
}

/// The answer for a stored call.
pub fn answer_stored(call: &CallView) -> Value {
    json!({
        "callId": call.call_id().as_ref().map(CallId::as_str),
        "conversationId": call.conversation_id().as_ref().map(ConversationId::as_str),
        "status": call.status().map(Status::as_str),
        "placementId": call.placement_id().as_ref().map(PlacementId::as_str),
    })
}

/// The answer for a call that ElevenLabs accepted and that could not be stored.
pub fn answer_accepted(id: &PlacementId, accepted: &Accepted) -> Value {
    json!({
        "callId": accepted.call_id.as_ref().map(CallId::as_str),
        "conversationId": accepted.conversation_id.as_ref().map(ConversationId::as_str),
        "status": Status::Initiated.as_str(),
        "placementId": id.as_str(),
    })
}
