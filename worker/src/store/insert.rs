//! Calls that nobody has heard of: a patch as the document that its update statement would make of nothing.
//!
//! The server stores a document in a quarter of the time of a statement that it has to evaluate. Which of the
//! two made a document nobody can tell: the unique indexes let only one of them make it.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use mongodb::bson::{
    RawArrayBuf, RawDocumentBuf, doc,
    raw::{CStr, cstr},
};

use super::{
    SERVER_TIME, Store, StoreError,
    calls::Failure,
    command::{self, Kind},
    document::{bson_date, json_to_raw},
    of_call,
    statement::{self, Unstorable},
};
use crate::domain::{
    call::{CallPatch, HistoryEntry, Placement, TranscriptState},
    event::{CallId, ConversationId, Parties},
};

/// See [`super::Calls::unknown`].
pub(super) async fn unknown(store: &Store, patches: &[&CallPatch]) -> Result<Vec<bool>, StoreError> {
    let ids: Vec<_> = patches.iter().filter_map(|patch| Some(patch.call_id.as_ref()?.as_str())).collect();
    // By the index of call ids alone.
    let (filter, fields) = (doc! { "callId": { "$in": ids } }, doc! { "_id": 0, "callId": 1 });
    let calls = store.calls.clone_with_type::<RawDocumentBuf>();
    let found: Vec<_> =
        store
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
    let known: HashSet<_> = found.iter().filter_map(|document| document.get_str("callId").ok()).collect();
    let is_unknown =
        |patch: &&CallPatch| patch.call_id.as_ref().is_some_and(|id| !known.contains(id.as_str()));
    Ok(patches.iter().map(is_unknown).collect())
}

/// See [`super::Calls::insert`].
pub(super) async fn insert(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    command::run(store, Kind::Insert, patches.iter().map(|patch| document(patch))).await
}

fn text(fields: &mut RawDocumentBuf, name: &CStr, value: Option<&str>) {
    if let Some(value) = value {
        fields.append(name, value);
    }
}

/// The document of a call of which nothing but `patch` is known, field by field as
/// [`statement::pipeline`] makes it.
pub(super) fn document(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut fields = RawDocumentBuf::new();
    text(&mut fields, cstr!("callId"), patch.call_id.as_ref().map(CallId::as_str));
    fields.append(cstr!("history"), history(&patch.history));
    text(&mut fields, cstr!("conversationId"), patch.conversation_id.as_ref().map(ConversationId::as_str));
    if let Some(Placement { id, request }) = &patch.placement {
        fields.append(cstr!("_placementId"), id.as_str());
        if let Some(request) = request {
            fields.append(cstr!("requestPayload"), json_to_raw(request).ok_or(statement::UNSTORABLE)?);
        }
    }
    append_always(&mut fields, patch);
    if let Some(claim) = &patch.status {
        statement::append_status(&mut fields, claim);
    }
    for (name, claim) in &patch.fields {
        statement::append_field(&mut fields, *name, claim)?;
    }
    if let Some(of_call) = &patch.of_call {
        fields.append(cstr!("_call"), of_call::document(of_call)?);
    }
    Ok(fields)
}

/// What is joined field by field, whichever event is the latest.
pub(super) fn append_always(fields: &mut RawDocumentBuf, patch: &CallPatch) {
    fields.append(cstr!("createdAt"), bson_date(patch.created_at));
    fields.append(cstr!("_storedAt"), bson_date(patch.first_stored));
    fields.append(cstr!("updatedAt"), bson_date(patch.updated_at));
    let Parties { agent_id, agent_phone_number_id, to_number } = &patch.parties;
    text(fields, cstr!("agentId"), agent_id.as_deref());
    text(fields, cstr!("agentPhoneNumberId"), agent_phone_number_id.as_deref());
    text(fields, cstr!("toNumber"), to_number.as_deref());
    text(fields, cstr!("parentCallId"), patch.parent_call_id.as_ref().map(CallId::as_str));
    text(fields, cstr!("transcriptState"), patch.transcript.map(TranscriptState::as_str));
    if let Some(since) = patch.owed_since {
        fields.append(cstr!("_owedSince"), bson_date(since));
    }
    if let Some(ended) = patch.leg_ended {
        fields.append(cstr!("_legEnded"), bson_date(ended));
    }
}

/// The lines in the order of the statement's: by the milliseconds that a date has.
fn history(entries: &[HistoryEntry]) -> RawArrayBuf {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| (entry.at.as_millisecond(), &entry.event_id));
    entries.into_iter().map(statement::history_entry).collect()
}
