//! Finds the status of one call: in the database, and at ElevenLabs if the stored status is missing or stale.
//!
//! Requests for the same conversation at the same time share one request to ElevenLabs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;

use super::{
    answer::{Answer, answer},
    error::LookupError,
    request::LookupRequest,
};
use crate::{
    Context,
    domain::{
        call::{Attachment, CallPatch, Status},
        conversation::observe,
        event::{CallId, ConversationId},
        time::after,
    },
    elevenlabs::{ApiError, Conversation, ElevenLabs},
    ingestion::write_once,
    ports::Ports as _,
    store::{CallView, PatchResult},
};

/// Finds the status of calls.
pub struct Lookup {
    api: Option<ElevenLabs>,
    /// Requests to ElevenLabs that have no answer yet.
    pending: Mutex<HashMap<ConversationId, Shared<BoxFuture<'static, Answer>>>>,
}

impl Lookup {
    /// Without `api`, only stored calls are found.
    pub fn new(api: Option<ElevenLabs>) -> Self {
        Self { api, pending: Mutex::default() }
    }

    /// The API of ElevenLabs. `None`: `ELEVENLABS_API_KEY` is not set.
    pub fn api(&self) -> Option<&ElevenLabs> {
        self.api.as_ref()
    }

    /// The call that `request` names, as the JSON of the answer.
    pub async fn status(&self, context: &Arc<Context>, request: LookupRequest) -> Answer {
        let mut stored = context.store.find(request.call.as_ref(), request.conversation.as_ref()).await?;
        if let (None, Some(placement)) = (&stored, &request.placement) {
            stored = context.store.find_placed(placement).await?;
        }
        let now = Timestamp::now();
        let fresh =
            stored.as_ref().is_some_and(|call| is_fresh(call, now, context.config.status_stale_after));
        let conversation = stored.as_ref().and_then(CallView::conversation_id).or(request.conversation);
        match conversation {
            Some(conversation) if !fresh => self.ask_once(context, conversation, stored).await,
            // Without a conversation id ElevenLabs cannot be asked: its API does not find calls by their ids.
            _ => answer(context, stored.ok_or(LookupError::NotFound)?, !fresh).await,
        }
    }

    /// Asks ElevenLabs, or waits for the answer to an earlier request for the same conversation.
    async fn ask_once(
        &self,
        context: &Arc<Context>,
        conversation: ConversationId,
        stored: Option<CallView>,
    ) -> Answer {
        let request = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let new =
                || ask(context.clone(), self.api.clone(), conversation.clone(), stored).boxed().shared();
            pending.entry(conversation.clone()).or_insert_with(new).clone()
        };
        let answer = request.clone().await;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.get(&conversation).is_some_and(|current| current.ptr_eq(&request)) {
            pending.remove(&conversation);
        }
        answer
    }
}

/// Asks ElevenLabs and stores its answer. If there is no answer, the stored call is returned as stale.
async fn ask(
    context: Arc<Context>,
    api: Option<ElevenLabs>,
    conversation: ConversationId,
    stored: Option<CallView>,
) -> Answer {
    match fetch(api.as_ref(), &conversation).await {
        Ok(observed) => {
            let now = Timestamp::now();
            // A conversation that is over changes the call as its webhook does.
            let Some(event) = observed.event(&conversation, now) else {
                let call_id = stored.as_ref().and_then(CallView::call_id);
                return store_patch(&context, observe(call_id, conversation, &observed, now), None).await;
            };
            let has_audio = event.has_audio;
            let id = event.id.clone();
            let (patch, file) = CallPatch::split(event);
            let answer = store_patch(&context, patch, file.map(|file| (id, file))).await;
            // After the call is stored: the recording of an unknown call is not fetched.
            if has_audio
                && answer.is_ok()
                && let Err(error) = context.enqueue_recording(&conversation, None).await
            {
                tracing::warn!(%error, "a recording job was not stored; the recording is fetched only if its webhook comes");
            }
            answer
        }
        Err(error) => {
            tracing::info!(conversation_id = conversation.as_str(), %error, "ElevenLabs did not return the status of a call");
            match (stored, error) {
                (Some(call), _) => answer(&context, call, true).await,
                (None, ApiError::NotFound | ApiError::Refused(_)) => Err(LookupError::NotFound),
                (None, _) => Err(LookupError::Unavailable),
            }
        }
    }
}

/// Whether the stored status needs no request to ElevenLabs: the call is finished, or was updated a short
/// time ago.
fn is_fresh(call: &CallView, now: Timestamp, stale_after: Duration) -> bool {
    let finished = call.status().is_some_and(Status::is_finished);
    finished || call.updated_at().is_some_and(|at| now < after(at, stale_after))
}

async fn fetch(api: Option<&ElevenLabs>, conversation: &ConversationId) -> Result<Conversation, ApiError> {
    let Some(api) = api else { return Err(ApiError::Unavailable("ELEVENLABS_API_KEY is not set")) };
    if api.gate.closed_for().is_some() {
        return Err(ApiError::Unavailable("it does not accept requests at the moment"));
    }
    api.conversation(conversation).await
}

/// Stores `patch` and its file, and returns the call as it is stored then.
async fn store_patch(context: &Context, patch: CallPatch, file: Option<(String, Attachment)>) -> Answer {
    let (call_id, conversation_id) = (patch.call_id.clone(), patch.conversation_id.clone());
    for change in write_once(context, &[patch], file.as_slice()).await? {
        match change {
            PatchResult::Applied(applied) => {
                tracing::info!(
                    call_id = call_id.as_ref().map(CallId::masked),
                    conversation_id = conversation_id.as_ref().map(ConversationId::as_str),
                    status_before = applied.before.map(Status::as_str),
                    status_after = applied.after.map(Status::as_str),
                    "status of a call read from ElevenLabs"
                );
                for conversation in &applied.transcripts_due {
                    let enqueued = context.enqueue_job(conversation, None).await;
                    if let Err(error) = enqueued {
                        tracing::warn!(%error, "a transcript job was not stored; a worker with the role transcripts restores it within 10 minutes");
                    }
                }
            }
            PatchResult::Refused { reason, detail } => {
                tracing::warn!(
                    reason = reason.label(),
                    detail,
                    "the status read from ElevenLabs was not stored"
                );
            }
        }
    }
    let call = context.store.find(call_id.as_ref(), conversation_id.as_ref()).await?;
    answer(context, call.ok_or(LookupError::NotFound)?, false).await
}
