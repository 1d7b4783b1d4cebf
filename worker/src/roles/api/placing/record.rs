//! The stored outcome of a placement, and the answer to its request. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    domain::{
        call::{CallPatch, HistoryEntry, Placement, Status, StatusClaim},
        event::{CallId, ConversationId, Parties, PlacementId},
    },
    elevenlabs::Accepted,
    store::CallView,
};

/// The changes to the call that follow from ElevenLabs' answer. `failure`: why ElevenLabs refused the call.
pub fn patch(id: &PlacementId, accepted: Accepted, failure: Option<&str>, now: Timestamp) -> CallPatch {
    let status = if failure.is_some() { Status::InitiationFailed } else { Status::Initiated };
    let event_id = format!("placement:{}:{status}", id.as_str());
    let event_type = if failure.is_some() { "placement.refused" } else { "placement.accepted" };
    CallPatch {
        call_id: accepted.call_id,
        conversation_id: accepted.conversation_id,
        parent_call_id: None,
        placement: Some(Placement { id: id.clone(), request: None }),
        parties: Parties::default(),
        status: Some(StatusClaim {
            status,
            at: now,
            event_id: event_id.clone(),
            failure_reason: failure.map(str::to_owned),
        }),
        fields: BTreeMap::new(),
        history: vec![HistoryEntry {
            event_id,
            event_type: event_type.to_owned(),
            status: Some(status.as_str().to_owned()),
            received_status: None,
            origin: Some("placement".to_owned()),
            signature: None,
            at: now,
            time_ignored: false,
            stored_at: Some(now),
            of_call: false,
        }],
        transcript: None,
        pending_since: None,
        leg_ended: None,
        created_at: now,
        first_stored: now,
        updated_at: now,
        of_call: None,
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
