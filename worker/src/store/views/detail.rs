//! One call with a page of its transcript, and its payloads one at a time.
//!
//! A document may have 16 MiB, so the server returns only the part that the page shows.

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use serde_json::{Map, Value};

use super::{
    connection::{SERVER_TIME, Views},
    row::{self, CallRow},
};
use crate::{
    domain::{
        call::{HistoryEntry, Outcome},
        event::{CallId, ConversationId, PlacementId},
    },
    store::{
        convert::{bson_to_value, date, document_to_json, whole_number},
        error::StoreError,
        fields::read_entry,
        lookup::conversations_of,
        placement_state::PlacementState,
    },
};

/// Turns of a conversation on one page.
pub const TURNS_A_PAGE: usize = 200;
/// The payloads that are shown on demand.
pub const RAW_FIELDS: [&str; 5] =
    ["rawResponse", "requestPayload", "metadata", "analysis", "initiationFailure"];

/// The fields of a call that its page shows.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The fields that a list shows.
    pub row: CallRow,
    /// Ids of the other conversations of the same telephone call.
    pub other_conversations: Vec<String>,
    /// The events in the order of time.
    pub history: Vec<HistoryEntry>,
    /// Id of the event whose status prevails.
    pub decided_by: Option<String>,
    /// Time of that event.
    pub status_updated_at: Option<Timestamp>,
    /// When the call was last updated.
    pub updated_at: Option<Timestamp>,
    /// Id of the agent.
    pub agent_id: Option<String>,
    /// Id of the agent's telephone number.
    pub agent_phone_number_id: Option<String>,
    /// State of the placement, if the call was placed through the API.
    pub placement: Option<PlacementState>,
    /// How the call turned out. `None`: it is not known yet, or this version does not know the stored word.
    pub outcome: Option<Outcome>,
    /// `outbound` or `inbound`.
    pub direction: Option<String>,
    /// How the parties are connected.
    pub channel: Option<String>,
    /// The name of the agent.
    pub agent_name: Option<String>,
    /// ElevenLabs' credits.
    pub cost: Option<u64>,
    /// ElevenLabs' analysis: `success`, `failure` or `unknown`.
    pub successful: Option<String>,
    /// ElevenLabs' summary of the conversation.
    pub summary: Option<String>,
    /// The batch call to which the call belongs.
    pub batch_call_id: Option<String>,
    /// The campaign to which the call belongs.
    pub campaign_id: Option<String>,
    /// What the caller gave to the agent.
    pub dynamic_variables: Map<String, Value>,
    /// The kind of party that answered, for example a person or a machine.
    pub answered_by: Option<String>,
    /// Why the transcript is unavailable.
    pub transcript_error: Option<String>,
    /// Since when the transcript is pending.
    pub pending_since: Option<Timestamp>,
    /// When the transcript was saved and after how many attempts, if it was fetched.
    pub fetched: Option<(Timestamp, u32)>,
    /// Number of turns of the whole conversation.
    pub turns_total: usize,
    /// The turns on the page.
    pub turns: Vec<Value>,
    /// ElevenLabs' analysis.
    pub analysis: Map<String, Value>,
    /// Why the conversation ended.
    pub termination_reason: Option<String>,
    /// The SIP response code with which the call failed.
    pub sip_code: Option<String>,
    /// Id of the recording's file.
    pub audio_file: Option<String>,
    /// The payloads of the call, with their sizes in bytes.
    pub raw: Vec<(&'static str, u64)>,
}

impl Views {
    /// The call with the id `name` (a call id, a conversation id, the id of a placement or of a document),
    /// and the turns from the position `skip` on.
    pub async fn detail(&self, name: &str, skip: usize) -> Result<Option<Detail>, StoreError> {
        for filter in filters(name) {
            let (calls, stages) = (self.store.calls.clone(), stages(filter, skip));
            let found = self
                .ask(async move { calls.aggregate(stages).max_time(SERVER_TIME).await?.try_next().await });
            if let Some(call) = found.await? {
                let Some(mut detail) = Detail::read(&call) else { return Ok(None) };
                if let Ok(file) = call.get_str("_turnsFile") {
                    detail.turns = self.turns_of(file, skip).await?;
                }
                detail.other_conversations = self.other_conversations(&detail.row).await?;
                return Ok(Some(detail));
            }
        }
        Ok(None)
    }

    /// Turns that are in a file, because they do not fit into the document.
    async fn turns_of(&self, file: &str, skip: usize) -> Result<Vec<Value>, StoreError> {
        // Such a file is large, so only one is read at a time.
        let _turn = self.large_files.acquire().await;
        Ok(self.store.transcript_turns(file, skip, TURNS_A_PAGE).await?.unwrap_or_default())
    }

    async fn other_conversations(&self, row: &CallRow) -> Result<Vec<String>, StoreError> {
        let Some(shared) = &row.shared_call_id else { return Ok(Vec::new()) };
        let mut others =
            self.ask(conversations_of(self.store.calls.clone(), shared.clone(), SERVER_TIME)).await?;
        others.retain(|id| Some(id) != row.conversation_id.as_ref());
        Ok(others)
    }

    /// One payload of a call, which may be large.
    pub async fn raw(&self, name: &str, field: &'static str) -> Result<Option<Value>, StoreError> {
        for filter in filters(name) {
            let calls = self.store.calls.clone();
            let found = self.ask(async move {
                calls.find_one(filter).projection(doc! { field: 1, "_id": 0 }).max_time(SERVER_TIME).await
            });
            if let Some(call) = found.await? {
                return Ok(call.get(field).map(bson_to_value));
            }
        }
        Ok(None)
    }

    /// Whether the event `event_id` is part of the call that `name` names.
    pub async fn has_event(&self, name: &str, event_id: &str) -> Result<bool, StoreError> {
        for mut filter in filters(name) {
            filter.insert("history.eventId", event_id);
            let calls = self.store.calls.clone();
            let found = self.ask(async move {
                calls.find_one(filter).projection(doc! { "_id": 1 }).max_time(SERVER_TIME).await
            });
            if found.await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The filters for each kind of id that `name` can be.
pub(super) fn filters(name: &str) -> impl Iterator<Item = Document> {
    // If the ids of a call hold a telephone number that is hidden, the pages use the `_id` of its document. It comes
    // first, so that no sender can put another call in its place.
    let document = ObjectId::parse_str(name).ok().map(|id| doc! { "_id": id });
    document.into_iter().chain(filters_of_ids(name))
}

/// The filters for each kind of id outside the database that `name` can be.
pub(super) fn filters_of_ids(name: &str) -> impl Iterator<Item = Document> + use<> {
    let call = CallId::new(name).ok().map(|id| doc! { "callId": id.as_str() });
    let conversation = ConversationId::new(name).ok().map(|id| doc! { "conversationId": id.as_str() });
    let placement = PlacementId::new(name).ok().map(|id| doc! { "_placementId": id.as_str() });
    [call, conversation, placement].into_iter().flatten()
}

fn stages(filter: Document, skip: usize) -> Vec<Document> {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let is_array = doc! { "$isArray": "$transcript" };
    let turns = doc! { "$slice": ["$transcript", number(skip), number(TURNS_A_PAGE)] };
    let size = |field: &str| {
        let name = format!("${field}");
        let is_document = doc! { "$eq": [{ "$type": &name }, "object"] };
        doc! { "$cond": [is_document, { "$bsonSize": &name }, Bson::Null] }
    };
    let sizes: Document = RAW_FIELDS.iter().map(|field| ((*field).to_owned(), size(field).into())).collect();
    vec![
        doc! { "$match": filter },
        doc! { "$limit": 1 },
        doc! { "$set": {
            "_turns": { "$cond": [&is_array, { "$size": "$transcript" }, { "$ifNull": ["$transcript.turns", 0] }] },
            "_turnsFile": { "$cond": [&is_array, Bson::Null, "$transcript.fileId"] },
            "transcript": { "$cond": [&is_array, turns, []] },
            "_sizes": sizes,
            "rawResponse": { "CallDuration": "$rawResponse.CallDuration" },
        } },
        doc! { "$unset": ["requestPayload", "initiationFailure", "metadata.phone_call"] },
    ]
}

impl Detail {
    fn read(call: &Document) -> Option<Self> {
        let text = |field: &str| call.get_str(field).ok().map(str::to_owned);
        let document = |field: &str| call.get_document(field).ok();
        let array = |field: &str| call.get_array(field).map(Vec::as_slice).unwrap_or_default();
        let attempts =
            whole_number(call, "_transcriptAttempts").and_then(|attempts| u32::try_from(attempts).ok());
        let sizes = document("_sizes").cloned().unwrap_or_default();
        Some(Self {
            row: CallRow { duration: row::duration(call), ..CallRow::read(call)? },
            other_conversations: Vec::new(),
            history: array("history").iter().filter_map(read_entry).collect(),
            decided_by: document("_status").and_then(|by| by.get_str("eventId").ok()).map(str::to_owned),
            status_updated_at: date(call, "statusUpdatedAt"),
            updated_at: date(call, "updatedAt"),
            agent_id: text("agentId"),
            agent_phone_number_id: text("agentPhoneNumberId"),
            placement: PlacementState::read(call),
            outcome: call.get_str("outcome").ok().and_then(Outcome::from_word),
            direction: text("direction"),
            channel: text("channel"),
            agent_name: text("agentName"),
            cost: whole_number(call, "cost"),
            successful: text("callSuccessful"),
            summary: text("summary"),
            batch_call_id: text("batchCallId"),
            campaign_id: text("campaignId"),
            dynamic_variables: document("dynamicVariables").map(document_to_json).unwrap_or_default(),
            answered_by: text("answeredBy"),
            transcript_error: text("_transcriptError"),
            pending_since: date(call, "_owedSince"),
            fetched: date(call, "_transcriptSavedAt").zip(attempts),
            turns_total: whole_number(call, "_turns").and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            turns: array("transcript").iter().map(bson_to_value).collect(),
            analysis: document("analysis").map(document_to_json).unwrap_or_default(),
            sip_code: text("sipCode"),
            termination_reason: document("metadata")
                .and_then(|metadata| metadata.get_str("termination_reason").ok())
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
            audio_file: document("audio").and_then(|audio| audio.get_str("fileId").ok()).map(str::to_owned),
            raw: RAW_FIELDS.iter().filter_map(|field| Some((*field, whole_number(&sizes, field)?))).collect(),
        })
    }
}
