//! Status of one call: what is stored, and where that is not enough, what ElevenLabs says.
//!
//! Requests for the same call at the same time share one search.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use serde_json::Value;

use super::request::Query;
use crate::{
    Context,
    domain::{
        call::{CallPatch, HistoryEntry, Status, StatusClaim, TranscriptState},
        event::{CallId, ConversationId, Parties, is_plausible, lenient_id, never_connected},
        text::{MAX_PARTY, MAX_REASON, cut},
        time::after,
    },
    elevenlabs::{ApiError, Conversation, ConversationStatus, ElevenLabs},
    roles::transcripts,
    store::{self, CallView, Changed, StoreError, answer_json},
};

/// Why a lookup has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// It names no call.
    #[error("conversation_id, callSid or placementId must be given")]
    NoIdentifier,
    /// Nobody knows the call.
    #[error("no such call")]
    NotFound,
    /// The call is not stored, and ElevenLabs cannot be asked now.
    #[error("the call is not stored here, and ElevenLabs cannot be asked now")]
    Unavailable,
    /// MongoDB is away.
    #[error("the database is away")]
    NoDatabase,
}

impl Refusal {
    /// Stable code of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::NoIdentifier => "no_identifier",
            Self::NotFound => "not_found",
            Self::Unavailable => "elevenlabs_unavailable",
            Self::NoDatabase => "database_unavailable",
        }
    }

    /// HTTP status of the problem.
    pub fn status(&self) -> usize {
        match self {
            Self::Invalid(_) | Self::NoIdentifier => 400,
            Self::NotFound => 404,
            Self::Unavailable | Self::NoDatabase => 503,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "status lookup without database");
        Self::NoDatabase
    }
}

type Answer = Result<Value, Refusal>;

/// Looks calls up.
pub struct Lookup {
    api: Option<ElevenLabs>,
    under_way: Mutex<HashMap<ConversationId, Shared<BoxFuture<'static, Answer>>>>,
}

impl Lookup {
    /// Without `api`, what is stored is all there is.
    pub fn new(api: Option<ElevenLabs>) -> Self {
        Self { api, under_way: Mutex::default() }
    }

    /// The API, where there is a key for it.
    pub(super) fn api(&self) -> Option<&ElevenLabs> {
        self.api.as_ref()
    }

    /// The status of the call, as the JSON of the answer.
    pub async fn status(&self, context: &Arc<Context>, query: Query) -> Answer {
        let mut stored = context.store.find(query.call.as_ref(), query.conversation.as_ref()).await?;
        if let (None, Some(placement)) = (&stored, &query.placement) {
            stored = context.store.find_placed(placement).await?;
        }
        let now = Timestamp::now();
        let fresh =
            stored.as_ref().is_some_and(|call| is_fresh(call, now, context.config.status_stale_after));
        let conversation = stored.as_ref().and_then(CallView::conversation_id).or(query.conversation);
        match conversation {
            Some(conversation) if !fresh => self.ask_once(context, conversation, stored).await,
            // Without a conversation id there is nothing to ask by: the API does not know call ids.
            _ => answer(context, stored.ok_or(Refusal::NotFound)?, !fresh).await,
        }
    }

    /// Asks ElevenLabs, or waits for whoever is asking about the same conversation already.
    async fn ask_once(
        &self,
        context: &Arc<Context>,
        conversation: ConversationId,
        stored: Option<CallView>,
    ) -> Answer {
        let asking = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let new =
                || ask(context.clone(), self.api.clone(), conversation.clone(), stored).boxed().shared();
            under_way.entry(conversation.clone()).or_insert_with(new).clone()
        };
        let answer = asking.clone().await;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&conversation).is_some_and(|current| current.ptr_eq(&asking)) {
            under_way.remove(&conversation);
        }
        answer
    }
}

async fn ask(
    context: Arc<Context>,
    api: Option<ElevenLabs>,
    conversation: ConversationId,
    stored: Option<CallView>,
) -> Answer {
    match fetch(api.as_ref(), &conversation).await {
        Ok(known) => {
            let call_id = stored.as_ref().and_then(CallView::call_id);
            store(&context, observed(call_id, conversation, &known, Timestamp::now())).await
        }
        Err(error) => {
            tracing::info!(conversation_id = conversation.as_str(), %error, "ElevenLabs gave no status");
            match (stored, error) {
                (Some(call), _) => answer(&context, call, true).await,
                (None, ApiError::NotFound | ApiError::Refused(_)) => Err(Refusal::NotFound),
                (None, _) => Err(Refusal::Unavailable),
            }
        }
    }
}

/// Whether what is stored is answer enough.
fn is_fresh(call: &CallView, now: Timestamp, stale_after: Duration) -> bool {
    let finished = call.status().is_some_and(Status::is_finished);
    finished || call.updated_at().is_some_and(|at| now < after(at, stale_after))
}

async fn fetch(api: Option<&ElevenLabs>, conversation: &ConversationId) -> Result<Conversation, ApiError> {
    let Some(api) = api else { return Err(ApiError::Unavailable("ELEVENLABS_API_KEY is not set")) };
    if api.gate.closed_until(Timestamp::now()).is_some() {
        return Err(ApiError::Unavailable("it takes no requests from us"));
    }
    api.conversation(conversation).await
}

/// What ElevenLabs says of a call, as an event like any other: asked twice, it is the same one.
fn observed(
    call_id: Option<CallId>,
    conversation_id: ConversationId,
    known: &Conversation,
    now: Timestamp,
) -> CallPatch {
    let call = known.metadata.phone_call.as_ref();
    // What its webhook says, should that come: so both end in the same.
    let unconnected = call.and_then(|call| never_connected(call.call_result.as_deref()?));
    let status = unconnected.map_or(known.status.call_status(), |_| Status::InitiationFailed);
    let began = known.metadata.start_time_unix_secs.and_then(|begin| Timestamp::from_second(begin).ok());
    let began = began.filter(|began| is_plausible(*began, now));
    let over = !matches!(known.status, ConversationStatus::Initiated | ConversationStatus::InProgress);
    let length = known.metadata.call_duration_secs.filter(|_| over).unwrap_or(0).max(0).unsigned_abs();
    let at = began
        .and_then(|begin| begin.checked_add(Duration::from_secs(length)).ok())
        .filter(|at| is_plausible(*at, now))
        .unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let event_id = format!("elevenlabs:{}:{}", conversation_id.as_str(), known.status.as_str());
    let reason = unconnected.or(known.failure_reason()).unwrap_or("The conversation failed");
    let party = |text: Option<&String>| {
        text.map(|text| text.trim()).filter(|text| !text.is_empty()).map(|text| cut(text, MAX_PARTY))
    };
    CallPatch {
        call_id: call_id.or_else(|| lenient_id(&call?.call_sid, CallId::new)),
        conversation_id: Some(conversation_id),
        parent_call_id: None,
        placement: None,
        parties: Parties {
            agent_id: party(known.agent_id.as_ref()),
            agent_phone_number_id: party(call.and_then(|call| call.phone_number_id.as_ref())),
            to_number: party(call.and_then(|call| call.external_number.as_ref())),
        },
        status: Some(StatusClaim {
            status,
            at,
            event_id: event_id.clone(),
            failure_reason: status.is_failure().then(|| cut(reason, MAX_REASON)),
        }),
        fields: BTreeMap::new(),
        history: vec![HistoryEntry {
            event_id,
            event_type: format!("conversation.{}", known.status.as_str()),
            status: Some(status.as_str().to_owned()),
            received_status: Some(known.status.as_str().to_owned()),
            origin: Some("lookup".to_owned()),
            signature: None,
            at,
            time_ignored: false,
            stored_at: Some(now),
            of_call: false,
        }],
        transcript: status.ends_conversation().then_some(TranscriptState::Pending),
        pending_since: status.ends_conversation().then_some(now),
        leg_ended: None,
        created_at: began.unwrap_or(at),
        first_stored: now,
        updated_at: now,
        of_call: None,
    }
}

/// Stores what was learned and answers what is then known.
async fn store(context: &Context, patch: CallPatch) -> Answer {
    let (call_id, conversation_id) = (patch.call_id.clone(), patch.conversation_id.clone());
    for change in store::apply(&context.store, &[patch]).await? {
        match change {
            Changed::Applied(applied) => {
                tracing::info!(
                    call_id = call_id.as_ref().map(CallId::as_str),
                    conversation_id = conversation_id.as_ref().map(ConversationId::as_str),
                    status_before = applied.before.map(Status::as_str),
                    status_after = applied.after.map(Status::as_str),
                    "status learned from ElevenLabs"
                );
                for owed in &applied.transcripts_due {
                    if let Err(error) = transcripts::owe(&context.jetstream, owed, None).await {
                        tracing::warn!(%error, "transcript job not stored; the next event or start makes up for it");
                    }
                }
            }
            Changed::Refused { label, detail } => tracing::warn!(label, detail, "observation not stored"),
        }
    }
    let call = context.store.find(call_id.as_ref(), conversation_id.as_ref()).await?;
    answer(context, call.ok_or(Refusal::NotFound)?, false).await
}

/// The answer for a call that is stored, with the names of its other conversations.
async fn answer(context: &Context, call: CallView, stale: bool) -> Answer {
    let others = context.store.other_conversations(&call).await?;
    let mut answer = answer_json(&call, stale);
    if !others.is_empty() {
        answer["otherConversations"] = others.iter().map(ConversationId::as_str).collect();
    }
    if let Some((file, bytes)) = call.transcript_file() {
        let fits = usize::try_from(bytes).is_ok_and(|bytes| bytes < context.nats.max_payload());
        answer["transcript"] = if fits {
            context.store.transcript_turns(&file, 0, usize::MAX).await?.into()
        } else {
            Value::Null
        };
        if !fits {
            answer["omitted"] = serde_json::json!(["transcript"]);
        }
    }
    Ok(answer)
}
