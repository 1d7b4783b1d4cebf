//! The state of the calls of a batch after it was applied.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::{
    call_view::CallView,
    calls::PatchOutcome,
    connection::{SERVER_TIME, Store},
    error::StoreError,
    key::Key,
};
use crate::domain::call::{CallPatch, Status, StatusClaim, TranscriptState};

/// See [`super::Calls::outcomes`].
pub(super) async fn outcomes(
    store: &Store,
    patches: &[&CallPatch],
    with_status: bool,
) -> Result<Vec<PatchOutcome>, StoreError> {
    let is_needed = |patch: &&&CallPatch| with_status || may_make_pending(patch);
    let keys: Vec<_> = patches.iter().filter(is_needed).filter_map(|patch| Key::of_document(patch)).collect();
    let found = find(store, &keys, with_status).await?;
    let outcome = |patch: &&CallPatch| {
        let call = Key::of_document(patch).and_then(|key| found.get(&key))?;
        Some(PatchOutcome {
            status: call.status(),
            status_without: with_status.then(|| status_without(call, patch)).flatten(),
            transcript_due: call.conversation_id().filter(|_| call.is_transcript_pending()),
        })
    };
    Ok(patches.iter().map(|patch| outcome(patch).unwrap_or_default()).collect())
}

/// Whether the patch can make a transcript due: it ends a conversation or a leg, or it names the
/// conversation.
fn may_make_pending(patch: &CallPatch) -> bool {
    patch.transcript == Some(TranscriptState::Pending)
        || patch.leg_ended.is_some()
        || patch.conversation_id.is_some()
}

/// The status that the call would have without the events of `patch`.
fn status_without(call: &CallView, patch: &CallPatch) -> Option<Status> {
    let is_of_patch =
        |claim: &StatusClaim| patch.history.iter().any(|entry| entry.event_id == claim.event_id);
    let others = call.claimed_statuses().into_iter().filter(|claim| !is_of_patch(claim));
    others.max_by(|a, b| a.key().cmp(&b.key())).map(|claim| claim.status)
}

/// The calls of `keys`. Without `with_status`, only the calls with a pending transcript: the index of pending
/// transcripts answers this query alone.
async fn find(store: &Store, keys: &[Key], with_status: bool) -> Result<HashMap<Key, CallView>, StoreError> {
    let mut by_field: HashMap<&str, Vec<&str>> = HashMap::new();
    for key in keys {
        by_field.entry(key.field().as_str()).or_default().push(key.id());
    }
    let (mut found, mut fields) = (HashMap::new(), doc! { "_id": 0 });
    let names: &[&str] = if with_status { &["status", "history"] } else { &[] };
    for name in ["callId", "conversationId", "_placementId", "transcriptState"].iter().chain(names) {
        fields.insert(*name, 1);
    }
    for (field, ids) in by_field {
        let mut filter = doc! { field: { "$in": ids } };
        if !with_status {
            filter.insert("transcriptState", "owed");
        }
        let (calls, fields) = (store.calls.clone(), fields.clone());
        let documents: Vec<Document> = store
            .run(async move {
                calls.find(filter).projection(fields).max_time(SERVER_TIME).await?.try_collect().await
            })
            .await?;
        for document in documents {
            let call = CallView::new(document);
            found.extend(call.keys().into_iter().map(|key| (key, call.clone())));
        }
    }
    Ok(found)
}
