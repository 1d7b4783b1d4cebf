//! Merges documents that belong to one call, and changes calls that have several documents.
//!
//! An event may name a call by its call id, by its conversation id, by the id of its placement, or by several
//! of them. Until an event names two of them, each can have a document of its own. A call with several
//! conversations has a document for each conversation. A patch that concerns more than one document is merged here,
//! in one transaction that does what [`conversations::join`] says. So no reader sees a call twice, and no worker loses
//! one.
//!
//! Invariant: two transactions that concern the same call exclude each other, because each of them writes to
//! the document with its `callId`.

use std::{collections::HashSet, time::Duration};

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use mongodb::{
    ClientSession, Collection,
    bson::{Document, doc, oid::ObjectId},
    error::{
        Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
        WriteFailure,
    },
};

use super::{
    applied::Applied,
    call_view::CallView,
    changes,
    connection::Store,
    error::{DUPLICATE_KEY, StoreError},
    fields::Payloads,
    key::Key,
};
use crate::domain::{
    call::{
        CallPatch,
        conversations::{self, Joined, MAX_CONVERSATIONS},
    },
    event::CallId,
};

/// Most attempts of one transaction. Other transactions may change the same call meanwhile.
const MAX_TRIES: u32 = 10;
/// Most attempts of one commit: about four seconds.
const MAX_COMMITS: u32 = 20;
/// Pause after the first attempt. The n-th pause is n times as long.
const PAUSE: Duration = Duration::from_millis(20);
/// A field that a transaction writes to a document and removes again. A transaction that writes to the same document
/// meanwhile fails.
const LOCK: &str = "_merging";

/// Applies a patch that changes several documents.
///
/// # Errors
/// [`StoreError::Unavailable`]: it is unknown whether the patch was applied. [`StoreError::Refused`]: this
/// patch can never be applied; patches of other calls can.
pub(super) async fn merge(store: &Store, patch: CallPatch) -> std::result::Result<Applied, StoreError> {
    let (client, calls) = (store.client.clone(), store.calls.clone());
    store
        .run(async move {
            let mut session = client.start_session().await?;
            let mut tries = 1;
            loop {
                match transaction(&mut session, &calls, patch.clone()).await {
                    Err(error) if tries < MAX_TRIES && is_transient(&error) => {
                        // An open transaction holds locks. The server may have ended it already.
                        if let Err(error) = session.abort_transaction().await {
                            tracing::debug!(%error, "the transaction had ended already");
                        }
                        tokio::time::sleep(PAUSE * tries).await;
                        tries += 1;
                    }
                    done => return done,
                }
            }
        })
        .await
}

async fn transaction(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    patch: CallPatch,
) -> Result<Applied> {
    debug_assert!(Key::of(&patch).is_some(), "a patch without an id is refused before");
    session.start_transaction().await?;
    let found = find(session, calls, &patch).await?;
    let to_patch = |call: &CallView| {
        call.to_patch(Payloads::Included).ok_or_else(|| Error::custom("a stored call has no dates"))
    };
    let stored = found.iter().map(to_patch).collect::<Result<Vec<_>>>()?;
    let call_id = patch.call_id.clone();
    let known: Vec<_> = stored.iter().map(|call| patch.is_known_to(call)).collect();
    let joined = conversations::join(stored, patch.clone());
    if joined.ignored_links > 0 {
        let call_id = call_id.as_ref().map(CallId::masked);
        tracing::warn!(
            call_id,
            "a link of an event is ignored: it names an id of another call, or one conversation too many"
        );
    }
    write(session, calls, &found, &joined, &known).await?;
    commit(session).await?;
    if let Some(conversation) = &joined.added_conversation {
        tracing::info!(
            call_id = joined.documents.iter().find_map(|one| one.call.call_id.as_ref().map(CallId::masked)),
            conversation_id = conversation.as_str(),
            conversations = joined.documents.len(),
            "the call has another conversation"
        );
    }
    Ok(Applied::of(joined.documents.iter().map(|one| &one.call), &patch))
}

/// Writes the documents of a call within the transaction.
async fn write(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    found: &[CallView],
    joined: &Joined,
    known: &[bool],
) -> Result<()> {
    let changed = changes::changes(found, joined, known, Timestamp::now())?;
    let deleted: Vec<_> = joined.documents.iter().flat_map(|one| one.from.iter().skip(1)).collect();
    for n in &deleted {
        calls.delete_one(doc! { "_id": found[**n].document_id() }).session(&mut *session).await?;
    }
    let call_id = joined.documents.iter().find_map(|one| one.call.call_id.as_ref());
    let holds_call_id = |n: &usize| {
        let own = found[*n].document().get_str("callId").ok();
        own.is_some() && own == call_id.map(CallId::as_str) && !deleted.contains(&n)
    };
    // A change of the document with the `callId` makes another merge of this call conflict.
    let locked = (0..found.len()).find(holds_call_id).map(|n| found[n].document());
    if let Some(call) = locked {
        let mark = doc! { "$set": { LOCK: ObjectId::new() } };
        calls.update_one(doc! { "_id": call.get("_id") }, mark).session(&mut *session).await?;
    }
    for (kept, document) in &changed {
        match kept.and_then(|kept| kept.get("_id")) {
            Some(id) => {
                let replaced = calls.replace_one(doc! { "_id": id }, document).session(&mut *session).await?;
                if replaced.matched_count == 0 {
                    return Err(Error::custom("a document of the call is gone"));
                }
            }
            None => drop(calls.insert_one(document).session(&mut *session).await?),
        }
    }
    if let Some(call) = locked
        && changed.iter().all(|(kept, _)| *kept != Some(call))
    {
        let unmark = doc! { "$unset": { LOCK: "" } };
        calls.update_one(doc! { "_id": call.get("_id") }, unmark).session(&mut *session).await?;
    }
    Ok(())
}

/// Commits the transaction, and repeats the commit if its answer was lost. An open transaction would block
/// every other change of its calls until the server ends it after a minute.
async fn commit(session: &mut ClientSession) -> Result<()> {
    let mut tries = 1;
    loop {
        match session.commit_transaction().await {
            Err(error) if tries < MAX_COMMITS && error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(PAUSE * tries).await;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// The documents that the identifiers of the patch name, and the other documents of their calls, each once.
async fn find(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    patch: &CallPatch,
) -> Result<Vec<CallView>> {
    let mut found: Vec<CallView> = Vec::with_capacity(3);
    for key in Key::all_of(patch) {
        let document = calls.find_one(key.filter()).session(&mut *session).await?;
        add(&mut found, document);
    }
    let named = found.iter().filter_map(CallView::call_id).chain(patch.call_id.clone());
    for id in named.collect::<HashSet<_>>() {
        let of_call = doc! { "$or": [{ "callId": id.as_str() }, { "sharedCallId": id.as_str() }] };
        // A call of an earlier version may have one conversation more than this version allows.
        let most = i64::try_from(MAX_CONVERSATIONS + 1).unwrap_or(i64::MAX);
        let mut cursor = calls.find(of_call).limit(most).session(&mut *session).await?;
        let documents: Vec<_> = cursor.stream(&mut *session).try_collect().await?;
        add(&mut found, documents);
    }
    Ok(found)
}

fn add(found: &mut Vec<CallView>, documents: impl IntoIterator<Item = Document>) {
    for call in documents.into_iter().map(CallView::new) {
        if found.iter().all(|other| other.document_id() != call.document_id()) {
            found.push(call);
        }
    }
}

/// Whether the transaction may work next time, because another transaction changed the same call.
fn is_transient(error: &Error) -> bool {
    let collided = matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == DUPLICATE_KEY)
        || matches!(&*error.kind, ErrorKind::Command(e) if e.code == DUPLICATE_KEY);
    collided || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}
