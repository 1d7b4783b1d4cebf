//! Places calls, each at most once.
//!
//! The document of the call is stored before ElevenLabs is asked, and ElevenLabs is asked once. If the
//! outcome is then unknown, it stays unknown until a webhook or reconciliation brings the id of the
//! placement. A placement that a worker left unfinished because it died is never dialled again.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    error::{PlacementError, sentence},
    record::{answer_accepted, answer_stored, patch},
    request::CallRequest,
};
use crate::{
    Context,
    domain::{
        call::CallPatch,
        event::{CallId, ConversationId, PlacementId},
        time::after,
    },
    elevenlabs::{Accepted, ElevenLabs, OutboundError, Refused},
    retry::Pauses,
    store::{self, CallView, NewPlacement, PatchResult, PlacementResult, PlacementStart, StoreError},
};

/// Longest duration of dialling. If a placement is still dialling after this time, its worker has died.
pub const DIALLING_TIMEOUT: Duration = Duration::from_mins(2);
/// Delays between attempts to store the outcome, and their total. The sender of the request waits meanwhile.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to a request that placed a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The JSON of the answer.
    pub answer: Value,
    /// Whether an earlier request with the same key placed the call.
    pub is_replayed: bool,
}

/// Places the call that `payload` describes.
pub async fn place(
    context: &Arc<Context>,
    api: Option<&ElevenLabs>,
    payload: &[u8],
    key: Option<String>,
) -> Result<Placed, PlacementError> {
    let call = CallRequest::read(payload).map_err(PlacementError::Invalid)?;
    let digest = call.digest();
    let now = Timestamp::now();
    if let Some(key) = &key
        && let Some(before) = context.store.find_placement(key).await?
    {
        return answer_again(&before, &digest, now);
    }
    let api = api.ok_or(PlacementError::NotConfigured)?;
    if api.gate.closed_for().is_some() {
        return Err(PlacementError::Refused(Refused::RateLimited)); // Checked before a document is stored.
    }
    let id = PlacementId::new(format!("{:032x}", rand::random::<u128>())).expect("hex digits");
    let request = call.to_elevenlabs(&id);
    let new = NewPlacement {
        id: id.clone(),
        key,
        digest,
        request: request.clone(),
        metadata: call.metadata.clone(),
        parties: call.parties(),
        at: now,
    };
    if let PlacementStart::Existing(before) = context.store.begin_placement(&new).await? {
        return answer_again(&before, &new.digest, now);
    }
    let outcome = api.place(call.carrier, &request, context.config.place_timeout).await;
    let answer = conclude(context, &id, outcome).await?;
    Ok(Placed { answer, is_replayed: false })
}

/// The answer to a repeated request: the same as to the first one.
fn answer_again(before: &CallView, digest: &str, now: Timestamp) -> Result<Placed, PlacementError> {
    let Some(placing) = before.placement().filter(|placing| placing.digest == digest) else {
        return Err(PlacementError::Conflict);
    };
    let replayed = || Ok(Placed { answer: answer_stored(before), is_replayed: true });
    let id = before.placement_id().map(|id| id.as_str().to_owned()).unwrap_or_default();
    if before.conversation_id().is_some() || before.call_id().is_some() {
        return replayed(); // The call exists, even if its outcome was unknown before.
    }
    match placing.state.as_str() {
        "placed" => replayed(),
        "refused" => {
            let class = Refused::ALL
                .into_iter()
                .find(|class| Some(class.refusal().code()) == placing.code.as_deref());
            Err(PlacementError::Refused(class.unwrap_or(Refused::Declined)))
        }
        "dialling" if now < after(placing.at, DIALLING_TIMEOUT) => Err(PlacementError::InProgress),
        _ => Err(PlacementError::OutcomeUnknown(id)),
    }
}

/// Stores the outcome of a placement and returns its answer.
async fn conclude(
    context: &Context,
    id: &PlacementId,
    outcome: Result<Accepted, OutboundError>,
) -> Result<Value, PlacementError> {
    let now = Timestamp::now();
    let (concluded, patch) = match &outcome {
        Ok(accepted) => (PlacementResult::Placed, Some(patch(id, accepted.clone(), None, now))),
        Err(OutboundError::Refused { class, words }) => {
            let reason = if words.is_empty() { sentence(*class) } else { words };
            let nothing = Accepted { conversation_id: None, call_id: None };
            (PlacementResult::Refused(class.refusal().code()), Some(patch(id, nothing, Some(reason), now)))
        }
        Err(OutboundError::Unknown) => (PlacementResult::Unknown, None),
    };
    let stored = persist(context, id, concluded, patch.as_ref(), now).await;
    match outcome {
        Ok(accepted) => {
            let (call, conversation) = (accepted.call_id.as_ref(), accepted.conversation_id.as_ref());
            tracing::info!(
                placement_id = id.as_str(),
                call_id = call.map(CallId::masked),
                conversation_id = conversation.map(ConversationId::as_str),
                stored,
                "call placed"
            );
            // Read from the database, because a webhook with a failure may have arrived before this answer.
            let known = context.store.find(call, conversation).await.ok().flatten();
            Ok(known.as_ref().map_or_else(|| answer_accepted(id, &accepted), answer_stored))
        }
        Err(OutboundError::Refused { class, .. }) => {
            tracing::warn!(
                placement_id = id.as_str(),
                code = class.refusal().code(),
                stored,
                "call not placed"
            );
            Err(PlacementError::Refused(class))
        }
        Err(OutboundError::Unknown) => {
            tracing::error!(
                placement_id = id.as_str(),
                "it is unknown whether this call was placed; it will not be dialled again"
            );
            Err(PlacementError::OutcomeUnknown(id.as_str().to_owned()))
        }
    }
}

/// Stores the outcome. Returns false if MongoDB did not store it; the placement then stays open until a
/// webhook or reconciliation brings its id.
async fn persist(
    context: &Context,
    id: &PlacementId,
    concluded: PlacementResult,
    patch: Option<&CallPatch>,
    now: Timestamp,
) -> bool {
    let mut pauses = Pauses::within(FIRST_RETRY_DELAY, MAX_RETRY_DELAY, RETRY_TIMEOUT);
    loop {
        let stored = async {
            if let Some(patch) = patch {
                let changes = store::apply(&context.store, std::slice::from_ref(patch)).await?;
                if let Some(PatchResult::Refused { detail, .. }) = changes.into_iter().next() {
                    return Err(StoreError::Refused(detail));
                }
            }
            context.store.conclude_placement(id, concluded, now).await
        };
        match stored.await {
            Ok(()) => return true,
            Err(error @ StoreError::Refused(_)) => {
                tracing::error!(%error, placement_id = id.as_str(), "MongoDB refuses the outcome of a placement; reconciliation looks for its call");
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, placement_id = id.as_str(), "the outcome of a placement was not stored; trying again");
            }
        }
        match pauses.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return false,
        }
    }
}
