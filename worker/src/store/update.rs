//! A batch of patches as update statements, and what is stored of their calls.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, RawBson, RawDocumentBuf, doc, raw::cstr, rawdoc};

use super::{
    CallView, SERVER_TIME, Store, StoreError,
    calls::{Failure, Standing},
    command::{self, Kind},
    statement::{self, Key},
};
use crate::domain::call::{CallPatch, Status, StatusClaim, TranscriptState};

/// See [`super::Calls::update`].
pub(super) async fn update(
    store: &Store,
    patches: &[&CallPatch],
) -> Result<Vec<(usize, Failure)>, StoreError> {
    command::run(store, Kind::Update, patches.iter().map(|patch| statement(patch))).await
}

/// The statement of an update command that joins `patch` with the document of its key.
///
/// # Errors
/// Label and sentence of a dead letter: it never can.
pub fn statement(patch: &CallPatch) -> Result<RawDocumentBuf, statement::Unstorable> {
    let key = Key::of(patch).ok_or(("no_identifier", "the patch names no call"))?;
    let pipeline = statement::pipeline(patch)?;
    Ok(rawdoc! { "q": filter(&key, patch), "u": [pipeline], "upsert": true })
}

/// The document of `key`, unless it is another conversation's, another placement's, or one of several to be
/// changed. Then the statement finds none, makes one, and fails on the unique index of the key.
fn filter(key: &Key, patch: &CallPatch) -> RawDocumentBuf {
    let mut filter = RawDocumentBuf::new();
    filter.append(key.field(), key.id());
    for other in Key::all_of(patch).filter(|other| other != key) {
        filter.append(other.field(), rawdoc! { "$in": [RawBson::Null, other.id()] });
    }
    if patch.call_id.is_some() && (!patch.is_linked() || patch.of_call.is_some()) {
        filter.append(cstr!("sharedCallId"), rawdoc! { "$exists": false });
    }
    filter
}

/// See [`super::Calls::standings`].
pub(super) async fn standings(
    store: &Store,
    patches: &[&CallPatch],
    with_status: bool,
) -> Result<Vec<Standing>, StoreError> {
    let asked = |patch: &&&CallPatch| with_status || may_owe(patch);
    let keys: Vec<_> = patches.iter().filter(asked).filter_map(|patch| Key::of_document(patch)).collect();
    let found = find(store, &keys, with_status).await?;
    let standing = |patch: &&CallPatch| {
        let call = Key::of_document(patch).and_then(|key| found.get(&key))?;
        Some(Standing {
            status: call.status(),
            without: with_status.then(|| without(call, patch)).flatten(),
            transcript_due: call.conversation_id().filter(|_| call.owes_transcript()),
        })
    };
    Ok(patches.iter().map(|patch| standing(patch).unwrap_or_default()).collect())
}

/// Whether a transcript can be due because of the patch: by an event that ends the conversation or the line,
/// or by one that tells which conversation it was.
fn may_owe(patch: &CallPatch) -> bool {
    patch.transcript == Some(TranscriptState::Owed)
        || patch.leg_ended.is_some()
        || patch.conversation_id.is_some()
}

/// What the status would be without the events of `patch`.
fn without(call: &CallView, patch: &CallPatch) -> Option<Status> {
    let known = |claim: &StatusClaim| patch.history.iter().any(|entry| entry.event_id == claim.event_id);
    let others = call.claims().into_iter().filter(|claim| !known(claim));
    others.max_by(|a, b| a.key().cmp(&b.key())).map(|claim| claim.status)
}

/// The calls behind `keys`; where their statuses do not matter, only those with an owed transcript, by the
/// index of these alone.
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
