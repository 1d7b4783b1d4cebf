//! Places calls, once and only once.
//!
//! Before ElevenLabs is asked, the call's document is stored; ElevenLabs is asked one time; what is
//! then not known stays so until a webhook or reconciliation brings the placement's id back. A worker
//! that dies in between leaves a placement that is never dialled again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::call_request::Order;
use crate::{
    Context,
    domain::{
        call::{CallPatch, HistoryEntry, Placement, Status, StatusClaim},
        event::{CallId, ConversationId, Parties, PlacementId},
        time::after,
    },
    elevenlabs::{Accepted, ElevenLabs, OutboundError, Refused},
    retry::Pauses,
    store::{self, CallView, NewPlacement, PlacementResult, PlacementStart, StoreError},
};

/// After that, a placement still dialling was left so by a worker that died.
pub const DIALLING: Duration = Duration::from_mins(2);
/// How long the outcome is tried to be stored while the caller waits.
const STORE_FIRST: Duration = Duration::from_millis(100);
const STORE_MOST: Duration = Duration::from_secs(1);
const STORE_TOTAL: Duration = Duration::from_secs(5);

/// Why no call is known to be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlaced {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// The key stands for another request.
    #[error("this Idempotency-Key was used for another request")]
    Conflict,
    /// Another request with this key is being dialled.
    #[error("a request with this Idempotency-Key is under way")]
    InProgress,
    /// Nothing is dialled.
    #[error("{}", sentence(*.0))]
    Refused(Refused),
    /// ElevenLabs may have dialled.
    #[error("the call may have been placed, as placement {0}; it will not be dialled again")]
    OutcomeUnknown(String),
    /// There is no key for ElevenLabs.
    #[error("calls cannot be placed: ELEVENLABS_API_KEY is not set")]
    NotConfigured,
    /// MongoDB is away. Nothing is dialled.
    #[error("the database is away; nothing was dialled")]
    NoDatabase,
}

fn sentence(refused: Refused) -> &'static str {
    match refused {
        Refused::Declined => "ElevenLabs declined the call; the reason is in its document",
        Refused::Unauthorized => "ElevenLabs refuses the API key, or this call to it",
        Refused::Payment => "the ElevenLabs plan does not allow the call",
        Refused::NotFound => "ElevenLabs does not know the agent or its number",
        Refused::Invalid => "ElevenLabs does not accept the request; the reason is in the call's document",
        Refused::RateLimited => "ElevenLabs takes no more calls now; nothing was dialled",
        Refused::Unreachable => "ElevenLabs cannot be reached; nothing was dialled",
    }
}

impl NotPlaced {
    /// Stable code of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Conflict => "idempotency_conflict",
            Self::InProgress => "in_progress",
            Self::Refused(class) => class.code(),
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::NotConfigured => "elevenlabs_not_configured",
            Self::NoDatabase => "database_unavailable",
        }
    }

    /// HTTP status of the problem.
    pub fn status(&self) -> usize {
        match self {
            Self::Invalid(_) => 400,
            Self::Conflict | Self::InProgress => 409,
            Self::Refused(Refused::Declined | Refused::Unauthorized) => 502,
            Self::Refused(Refused::Payment) => 402,
            Self::Refused(Refused::NotFound) => 404,
            Self::Refused(Refused::Invalid) => 422,
            Self::Refused(Refused::RateLimited) => 429,
            Self::Refused(Refused::Unreachable) | Self::NotConfigured | Self::NoDatabase => 503,
            Self::OutcomeUnknown(_) => 504,
        }
    }
}

impl From<StoreError> for NotPlaced {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Refused(_)) {
            return Self::Invalid("the request holds what the database cannot store".to_owned());
        }
        tracing::warn!(%error, "a call was not placed for want of the database");
        Self::NoDatabase
    }
}

/// Places the call that `payload` asks for; the JSON of the answer.
pub async fn place(
    context: &Arc<Context>,
    api: Option<&ElevenLabs>,
    payload: &[u8],
    key: Option<String>,
) -> Result<Value, NotPlaced> {
    let order = Order::read(payload).map_err(NotPlaced::Invalid)?;
    let digest = order.digest();
    let now = Timestamp::now();
    if let Some(key) = &key
        && let Some(before) = context.store.find_placement(key).await?
    {
        return answer_again(&before, &digest, now);
    }
    let api = api.ok_or(NotPlaced::NotConfigured)?;
    if api.gate.closed_until(now).is_some() {
        return Err(NotPlaced::Refused(Refused::RateLimited)); // Before there is a document: nothing was begun.
    }
    let id = PlacementId::new(format!("{:032x}", rand::random::<u128>())).expect("hex digits");
    let request = order.request(&id);
    let new = NewPlacement {
        id: id.clone(),
        key,
        digest,
        request: request.clone(),
        parties: order.parties(),
        at: now,
    };
    if let PlacementStart::Existing(before) = context.store.begin_placement(&new).await? {
        return answer_again(&before, &new.digest, now);
    }
    let outcome = api.place(order.carrier, &request, context.config.place_timeout).await;
    conclude(context, &id, outcome).await
}

/// What a repetition is answered: what the first request was, or would have been.
fn answer_again(before: &CallView, digest: &str, now: Timestamp) -> Result<Value, NotPlaced> {
    let Some(placing) = before.placement().filter(|placing| placing.digest == digest) else {
        return Err(NotPlaced::Conflict);
    };
    let id = before.placement_id().map(|id| id.as_str().to_owned()).unwrap_or_default();
    if before.conversation_id().is_some() || before.call_id().is_some() {
        return Ok(answer(before)); // However it became known.
    }
    match placing.state.as_str() {
        "placed" => Ok(answer(before)),
        "refused" => {
            let class = Refused::ALL.into_iter().find(|class| Some(class.code()) == placing.code.as_deref());
            Err(NotPlaced::Refused(class.unwrap_or(Refused::Declined)))
        }
        "dialling" if now < after(placing.at, DIALLING) => Err(NotPlaced::InProgress),
        _ => Err(NotPlaced::OutcomeUnknown(id)),
    }
}

async fn conclude(
    context: &Context,
    id: &PlacementId,
    outcome: Result<Accepted, OutboundError>,
) -> Result<Value, NotPlaced> {
    let now = Timestamp::now();
    let (concluded, patch) = match &outcome {
        Ok(accepted) => (PlacementResult::Placed, Some(patch(id, accepted.clone(), None, now))),
        Err(OutboundError::Refused { class, words }) => {
            let reason = if words.is_empty() { sentence(*class) } else { words };
            let nothing = Accepted { conversation_id: None, call_id: None };
            (PlacementResult::Refused(class.code()), Some(patch(id, nothing, Some(reason), now)))
        }
        Err(OutboundError::Unknown) => (PlacementResult::Unknown, None),
    };
    let stored = persist(context, id, concluded, patch.as_ref(), now).await;
    match outcome {
        Ok(accepted) => {
            let (call, conversation) = (accepted.call_id.as_ref(), accepted.conversation_id.as_ref());
            tracing::info!(
                placement_id = id.as_str(),
                call_id = call.map(CallId::as_str),
                conversation_id = conversation.map(ConversationId::as_str),
                stored,
                "call placed"
            );
            // As it stands by now: a failure may have been quicker than the answer.
            let known = context.store.find(call, conversation).await.ok().flatten();
            Ok(known.as_ref().map_or_else(|| placed(id, &accepted), answer))
        }
        Err(OutboundError::Refused { class, .. }) => {
            tracing::warn!(placement_id = id.as_str(), code = class.code(), stored, "call not placed");
            Err(NotPlaced::Refused(class))
        }
        Err(OutboundError::Unknown) => {
            tracing::error!(placement_id = id.as_str(), "nobody knows whether this call was placed");
            Err(NotPlaced::OutcomeUnknown(id.as_str().to_owned()))
        }
    }
}

/// Stores the outcome; whether that worked. Where it did not, the placement stays open, and what is
/// heard of the call leads to it.
async fn persist(
    context: &Context,
    id: &PlacementId,
    concluded: PlacementResult,
    patch: Option<&CallPatch>,
    now: Timestamp,
) -> bool {
    let mut pauses = Pauses::within(STORE_FIRST, STORE_MOST, STORE_TOTAL);
    loop {
        let stored = async {
            if let Some(patch) = patch {
                store::apply(&context.store, std::slice::from_ref(patch)).await?;
            }
            context.store.conclude_placement(id, concluded, now).await
        };
        match stored.await {
            Ok(()) => return true,
            Err(error) => {
                tracing::warn!(%error, placement_id = id.as_str(), "outcome of a placement not stored");
            }
        }
        match pauses.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return false,
        }
    }
}

/// What ElevenLabs' answer says of the call; `failure` is why there is none.
fn patch(id: &PlacementId, accepted: Accepted, failure: Option<&str>, now: Timestamp) -> CallPatch {
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

fn answer(call: &CallView) -> Value {
    json!({
        "callId": call.call_id().as_ref().map(CallId::as_str),
        "conversationId": call.conversation_id().as_ref().map(ConversationId::as_str),
        "status": call.status().map(Status::as_str),
        "placementId": call.placement_id().as_ref().map(PlacementId::as_str),
    })
}

fn placed(id: &PlacementId, accepted: &Accepted) -> Value {
    json!({
        "callId": accepted.call_id.as_ref().map(CallId::as_str),
        "conversationId": accepted.conversation_id.as_ref().map(ConversationId::as_str),
        "status": Status::Initiated.as_str(),
        "placementId": id.as_str(),
    })
}
