//! One call, with a page of its transcript, and its payloads one at a time.
//!
//! A document may have sixteen megabytes; what a page shows is cut out of it by the server.

use jiff::Timestamp;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use serde_json::{Map, Value};

use super::{CallRow, SERVER_TIME, Views, row};
use crate::{
    domain::{
        call::HistoryEntry,
        event::{CallId, ConversationId, PlacementId},
    },
    store::{
        StoreError, conversations_of,
        document::{bson_to_value, date, document_to_json, history_entry},
        placements::Placing,
    },
};

/// Turns of a conversation shown at a time.
pub const TURNS_A_PAGE: usize = 200;
/// Payloads that are shown on demand.
pub const RAW_FIELDS: [&str; 5] =
    ["rawResponse", "requestPayload", "metadata", "analysis", "initiationFailure"];

/// A call as its page shows it.
#[derive(Clone, Debug)]
pub struct Detail {
    /// What a list shows of it.
    pub row: CallRow,
    /// Ids of the other conversations of the same telephone call.
    pub other_conversations: Vec<String>,
    /// Its events by their own time.
    pub history: Vec<HistoryEntry>,
    /// The event whose status prevails.
    pub decided_by: Option<String>,
    /// When that was.
    pub status_updated_at: Option<Timestamp>,
    /// When anything was last learned.
    pub updated_at: Option<Timestamp>,
    /// Agent.
    pub agent_id: Option<String>,
    /// Its number.
    pub agent_phone_number_id: Option<String>,
    /// How far its placement is, where it was placed through us.
    pub placing: Option<Placing>,
    /// Who or what answered.
    pub answered_by: Option<String>,
    /// Why there is no transcript.
    pub transcript_error: Option<String>,
    /// Since when it is owed.
    pub owed_since: Option<Timestamp>,
    /// When it was saved, and after how many tries, where it was fetched.
    pub fetched: Option<(Timestamp, u32)>,
    /// Turns of the whole conversation.
    pub turns_total: usize,
    /// The turns asked for.
    pub turns: Vec<Value>,
    /// ElevenLabs' analysis.
    pub analysis: Map<String, Value>,
    /// Why the conversation ended.
    pub termination_reason: Option<String>,
    /// The recording.
    pub audio_file: Option<String>,
    /// Payloads there are, and their sizes in bytes.
    pub raw: Vec<(&'static str, u64)>,
}

impl Views {
    /// The call that `name` names: a call id, a conversation id or a placement's id; with the turns
    /// from `skip` on.
    pub async fn detail(&self, name: &str, skip: usize) -> Result<Option<Detail>, StoreError> {
        for key in keys(name) {
            let (calls, stages) = (self.store.calls.clone(), stages(key, skip));
            let found = self.ask(async move {
                use futures_util::TryStreamExt as _;
                calls.aggregate(stages).max_time(SERVER_TIME).await?.try_next().await
            });
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

    /// Turns that the document has no room for.
    async fn turns_of(&self, file: &str, skip: usize) -> Result<Vec<Value>, StoreError> {
        // One at a time: such a file is large.
        let _turn = self.large_files.acquire().await;
        Ok(self.store.transcript_turns(file, skip, TURNS_A_PAGE).await?.unwrap_or_default())
    }

    async fn other_conversations(&self, row: &CallRow) -> Result<Vec<String>, StoreError> {
        let Some(shared) = &row.shared_call_id else { return Ok(Vec::new()) };
        let mut others = self.ask(conversations_of(self.store.calls.clone(), shared.clone())).await?;
        others.retain(|id| Some(id) != row.conversation_id.as_ref());
        Ok(others)
    }

    /// One payload of a call, which may be large.
    pub async fn raw(&self, name: &str, field: &'static str) -> Result<Option<Value>, StoreError> {
        for key in keys(name) {
            let calls = self.store.calls.clone();
            let found = self.ask(async move {
                calls.find_one(key).projection(doc! { field: 1, "_id": 0 }).max_time(SERVER_TIME).await
            });
            if let Some(call) = found.await? {
                return Ok(call.get(field).map(bson_to_value));
            }
        }
        Ok(None)
    }

    /// Whether the event `event_id` is part of the call that `name` names.
    pub async fn has_event(&self, name: &str, event_id: &str) -> Result<bool, StoreError> {
        for mut key in keys(name) {
            key.insert("history.eventId", event_id);
            let calls = self.store.calls.clone();
            let found = self.ask(async move {
                calls.find_one(key).projection(doc! { "_id": 1 }).max_time(SERVER_TIME).await
            });
            if found.await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Queries for what may be meant by `name`.
fn keys(name: &str) -> impl Iterator<Item = Document> {
    let call = CallId::new(name).ok().map(|id| doc! { "callId": id.as_str() });
    let conversation = ConversationId::new(name).ok().map(|id| doc! { "conversationId": id.as_str() });
    let placement = PlacementId::new(name).ok().map(|id| doc! { "_placementId": id.as_str() });
    // The pages name calls whose own ids hold a hidden number by their document.
    let document = ObjectId::parse_str(name).ok().map(|id| doc! { "_id": id });
    [call, conversation, placement, document].into_iter().flatten()
}

fn stages(key: Document, skip: usize) -> Vec<Document> {
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
        doc! { "$match": key },
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
        let number = |document: &Document, field: &str| match document.get(field) {
            Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
            Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let array = |field: &str| call.get_array(field).map(Vec::as_slice).unwrap_or_default();
        let attempts = number(call, "_transcriptAttempts").and_then(|attempts| u32::try_from(attempts).ok());
        let sizes = document("_sizes").cloned().unwrap_or_default();
        Some(Self {
            row: CallRow { duration: row::duration(call), ..CallRow::read(call)? },
            other_conversations: Vec::new(),
            history: array("history").iter().filter_map(history_entry).collect(),
            decided_by: document("_status").and_then(|by| by.get_str("eventId").ok()).map(str::to_owned),
            status_updated_at: date(call, "statusUpdatedAt"),
            updated_at: date(call, "updatedAt"),
            agent_id: text("agentId"),
            agent_phone_number_id: text("agentPhoneNumberId"),
            placing: Placing::read(call),
            answered_by: text("answeredBy"),
            transcript_error: text("_transcriptError"),
            owed_since: date(call, "_owedSince"),
            fetched: date(call, "_transcriptSavedAt").zip(attempts),
            turns_total: number(call, "_turns").and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            turns: array("transcript").iter().map(bson_to_value).collect(),
            analysis: document("analysis").map(document_to_json).unwrap_or_default(),
            termination_reason: document("metadata")
                .and_then(|metadata| metadata.get_str("termination_reason").ok())
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned),
            audio_file: document("audio").and_then(|audio| audio.get_str("fileId").ok()).map(str::to_owned),
            raw: RAW_FIELDS.iter().filter_map(|field| Some((*field, number(&sizes, field)?))).collect(),
        })
    }
}
