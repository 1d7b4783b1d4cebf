//! Documents that turn out to be one call, and calls with several documents.
//!
//! Events may know a call by its call id, its conversation id, our placement's id, or several of them.
//! Until one names two, there can be a document for each. A call with several conversations has a document for
//! each of them. A statement that concerns more than one document fails on a unique index and comes here. One
//! transaction does what [`conversations::join`] says, so that at no time a reader sees a call twice or a worker
//! loses one.
//!
//! Invariant: two transactions that concern the same call exclude each other, because each writes to the
//! document that has its `callId`.

use std::{collections::HashSet, time::Duration};

use futures_util::TryStreamExt as _;
use mongodb::{
    ClientSession, Collection,
    bson::{Bson, Document, doc, oid::ObjectId},
    error::{
        Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
        WriteFailure,
    },
};

use super::{CallView, Store, StoreError, insert, statement::Key};
use crate::domain::{
    call::{
        CallPatch, Field, TranscriptState,
        conversations::{self, Joined, MAX_CONVERSATIONS},
    },
    event::{CallId, ConversationId},
};

/// Tries of one transaction among others that touch the same call.
const MAX_TRIES: u32 = 10;
/// Tries of one commit, over some four seconds.
const MAX_COMMITS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// Marks a document within a transaction, so that another one conflicts.
const LOCK: &str = "_merging";

/// Applies a patch whose statement collided with a unique index. The conversations of the call whose transcript
/// is owed.
///
/// # Errors
/// [`StoreError::Refused`] concerns this call alone.
pub(super) async fn merge(
    store: &Store,
    patch: CallPatch,
) -> std::result::Result<Vec<ConversationId>, StoreError> {
    let (client, calls) = (store.client.clone(), store.calls.clone());
    store
        .run(async move {
            let mut session = client.start_session().await?;
            let mut tries = 1;
            loop {
                match transaction(&mut session, &calls, patch.clone()).await {
                    Err(error) if tries < MAX_TRIES && is_passing(&error) => {
                        // Leaving it open would hold its locks; the server may have ended it already.
                        if let Err(error) = session.abort_transaction().await {
                            tracing::debug!(%error, "transaction was over already");
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
) -> Result<Vec<ConversationId>> {
    session.start_transaction().await?;
    let found = find(session, calls, &patch).await?;
    let understood =
        |call: &CallView| call.to_patch().ok_or_else(|| Error::custom("a half is not understood"));
    let stored = found.iter().map(understood).collect::<Result<Vec<_>>>()?;
    if patch.call_id.is_none() && patch.conversation_id.is_none() && patch.placement.is_none() {
        session.abort_transaction().await?; // Names no call: refused before it came here.
        return Ok(Vec::new());
    }
    let (call_id, events) = (patch.call_id.clone(), events(&patch));
    let joined = conversations::join(stored, patch);
    if joined.ignored_links > 0 {
        let call_id = call_id.as_ref().map(CallId::as_str);
        tracing::warn!(call_id, "an event links this call to what belongs to another; link ignored");
    }
    write(session, calls, &found, &joined, &events).await?;
    commit(session).await?;
    if let Some(further) = &joined.further {
        tracing::info!(
            call_id = joined.documents.iter().find_map(|one| Some(one.call.call_id.as_ref()?.as_str())),
            conversation_id = further.as_str(),
            conversations = joined.documents.len(),
            "this call has a further conversation"
        );
    }
    let owed = joined.documents.into_iter().filter(|one| one.call.transcript == Some(TranscriptState::Owed));
    Ok(owed.filter_map(|one| one.call.conversation_id).collect())
}

/// Ids of the events of a patch that brings nothing else.
pub(super) fn events(patch: &CallPatch) -> HashSet<String> {
    if !patch.fields.contains_key(&Field::RawResponse) {
        return HashSet::new();
    }
    patch.history.iter().map(|entry| entry.event_id.clone()).collect()
}

/// Writes the documents of a call.
async fn write(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    found: &[CallView],
    joined: &Joined,
    events: &HashSet<String>,
) -> Result<()> {
    let changed = changes(found, joined, events)?;
    let deleted: Vec<_> = joined.documents.iter().flat_map(|one| one.from.iter().skip(1)).collect();
    for half in &deleted {
        calls.delete_one(doc! { "_id": found[**half].key() }).session(&mut *session).await?;
    }
    let call_id = joined.documents.iter().find_map(|one| one.call.call_id.as_ref());
    let is_answering = |n: &usize| {
        let own = found[*n].document().get_str("callId").ok();
        own.is_some() && own == call_id.map(CallId::as_str) && !deleted.contains(&n)
    };
    let locked = (0..found.len()).find(is_answering).map(|n| found[n].document());
    if let Some(call) = locked {
        let mark = doc! { "$set": { LOCK: ObjectId::new() } };
        calls.update_one(doc! { "_id": call.get("_id") }, mark).session(&mut *session).await?;
    }
    for (kept, document) in &changed {
        match kept.and_then(|kept| kept.get("_id")) {
            Some(id) => {
                let replaced = calls.replace_one(doc! { "_id": id }, document).session(&mut *session).await?;
                if replaced.matched_count == 0 {
                    return Err(Error::custom("a half is gone"));
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

/// The documents that change: as they are, and as they are to be. What gives up the unique id of the call comes
/// before what gets it.
pub(super) fn changes<'a>(
    found: &'a [CallView],
    joined: &Joined,
    events: &HashSet<String>,
) -> Result<Vec<(Option<&'a Document>, Document)>> {
    let mut changed = Vec::new();
    for one in &joined.documents {
        let document = document(found, one)?;
        let kept = one.from.first().map(|&n| found[n].document());
        // An event changes a document once, as in a statement.
        let knows = one.from.len() == 1
            && !events.is_empty()
            && events.iter().all(|event| found_events(kept).contains(event.as_str()));
        let is_same = kept.is_some_and(|kept| *kept == document || (knows && ids(kept) == ids(&document)));
        if !is_same {
            changed.push((kept, document));
        }
    }
    changed.sort_by_key(|(_, document)| document.contains_key("callId"));
    Ok(changed)
}

fn found_events(call: Option<&Document>) -> HashSet<&str> {
    let history = call.and_then(|call| call.get_array("history").ok());
    let entries = history.into_iter().flatten().filter_map(Bson::as_document);
    entries.filter_map(|entry| entry.get_str("eventId").ok()).collect()
}

fn ids(call: &Document) -> [Option<&Bson>; 4] {
    ["callId", "sharedCallId", "conversationId", "_placementId"].map(|field| call.get(field))
}

/// A document as it is to be stored. What no event brings stays as it is in the one that is kept, or in the first
/// of the others that has it.
fn document(found: &[CallView], one: &conversations::Document) -> Result<Document> {
    let mut document = Document::new();
    for &n in one.from.iter().rev() {
        document.extend(found[n].document().clone());
    }
    let fields = insert::document(&one.call).map_err(|(_, why)| Error::custom(why))?;
    document.extend(Document::try_from(fields)?);
    if one.is_shared {
        let call_id = document.get("callId").cloned();
        document.extend(call_id.map(|id| ("sharedCallId".to_owned(), id)));
        if !one.is_first {
            document.remove("callId");
        }
    }
    Ok(document)
}

/// Commits, and asks again where the answer got lost: a transaction that is left open keeps everybody from
/// its calls, our own next try included, until the server gives it up after a minute.
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

/// The documents that the patch's identifiers name, and all others of their calls, each once.
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
        // One more than there can be would be a call of an earlier version.
        let most = i64::try_from(MAX_CONVERSATIONS + 1).unwrap_or(i64::MAX);
        let mut cursor = calls.find(of_call).limit(most).session(&mut *session).await?;
        let documents: Vec<_> = cursor.stream(&mut *session).try_collect().await?;
        add(&mut found, documents);
    }
    Ok(found)
}

fn add(found: &mut Vec<CallView>, documents: impl IntoIterator<Item = Document>) {
    for call in documents.into_iter().map(CallView::new) {
        if found.iter().all(|other| other.key() != call.key()) {
            found.push(call);
        }
    }
}

/// Whether the same transaction may succeed next time: somebody else touched the same call.
fn is_passing(error: &Error) -> bool {
    let collided = matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == 11_000)
        || matches!(&*error.kind, ErrorKind::Command(e) if e.code == 11_000);
    collided || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}
