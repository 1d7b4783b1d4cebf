//! Documents that turn out to be one call.
//!
//! Events may know a call by its call id, its conversation id, our placement's id, or several of them.
//! Until one names two, there can be a document for each; the statement that would link them fails on
//! a unique index and comes here. One transaction takes all but one away and joins them into that, so
//! that at no time a reader sees a call twice or a worker loses one.

use std::time::Duration;

use mongodb::{
    ClientSession, Collection,
    bson::{Document, RawDocumentBuf, doc},
    error::{
        Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
        WriteFailure,
    },
};

use super::{
    CallView, Store, StoreError,
    statement::{Key, pipeline},
};
use crate::{call::CallPatch, event::CallId};

/// Tries of one transaction among others that touch the same call.
const MAX_TRIES: u32 = 10;
/// Tries of one commit, over some four seconds.
const MAX_COMMITS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// Applies a patch whose statement collided with a unique index.
///
/// # Errors
/// [`StoreError::Refused`] concerns this call alone.
pub(super) async fn merge(store: &Store, patch: CallPatch) -> std::result::Result<(), StoreError> {
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
    mut patch: CallPatch,
) -> Result<()> {
    session.start_transaction().await?;
    let mut found = find(session, calls, &patch).await?;
    while contradict(&patch, &found) {
        let call_id = patch.call_id.as_ref().map(CallId::as_str);
        tracing::warn!(call_id, "an event links this call to what belongs to another; link ignored");
        forget_weakest(&mut patch);
        found = find(session, calls, &patch).await?;
    }
    let mut found = found.into_iter();
    let (filter, halves) = if let Some(kept) = found.next() {
        let mut halves = Vec::with_capacity(found.len());
        for half in found {
            let whole = half.to_patch().ok_or_else(|| Error::custom("a half is not understood"))?;
            patch = patch.join(whole);
            calls.delete_one(doc! { "_id": half.key() }).session(&mut *session).await?;
            halves.push(RawDocumentBuf::try_from(&half.into_fields())?);
        }
        (doc! { "_id": kept.key() }, halves)
    } else {
        let Some(key) = Key::of(&patch) else {
            return session.abort_transaction().await; // Names no call: refused before it came here.
        };
        (key.filter(), Vec::new())
    };
    let stage = pipeline(&patch, &halves).map_err(|(_, why)| Error::custom(why))?;
    calls.update_one(filter, vec![Document::try_from(stage)?]).upsert(true).session(&mut *session).await?;
    commit(session).await
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

/// The documents the patch's identifiers name, each once, the one to keep first.
async fn find(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    patch: &CallPatch,
) -> Result<Vec<CallView>> {
    let mut found: Vec<CallView> = Vec::with_capacity(3);
    for key in Key::all_of(patch) {
        let Some(document) = calls.find_one(key.filter()).session(&mut *session).await? else { continue };
        let call = CallView::new(document);
        if found.iter().all(|other| other.key() != call.key()) {
            found.push(call);
        }
    }
    Ok(found)
}

/// Whether patch and documents cannot all be one call, since they name two of a kind.
fn contradict(patch: &CallPatch, found: &[CallView]) -> bool {
    fn differ<T: PartialEq>(own: Option<&T>, stored: impl Iterator<Item = Option<T>>) -> bool {
        let mut stored = stored.flatten();
        let Some(first) = stored.next() else { return false };
        own.is_some_and(|own| *own != first) || stored.any(|other| other != first)
    }
    let placement = patch.placement.as_ref().map(|placement| &placement.id);
    differ(patch.call_id.as_ref(), found.iter().map(CallView::call_id))
        || differ(patch.conversation_id.as_ref(), found.iter().map(CallView::conversation_id))
        || differ(placement, found.iter().map(CallView::placement_id))
}

/// Lets go of the identifier that counts least: the event still belongs to the call it names first.
fn forget_weakest(patch: &mut CallPatch) {
    if patch.placement.take().is_none() && patch.call_id.is_some() {
        patch.conversation_id = None;
    }
}

/// Whether the same transaction may succeed next time: somebody else touched the same call.
fn is_passing(error: &Error) -> bool {
    let collided = matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(e)) if e.code == 11_000)
        || matches!(&*error.kind, ErrorKind::Command(e) if e.code == 11_000);
    collided || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        call::Placement,
        event::{Envelope, Origin, PlacementId, parse},
    };

    fn stored(id: i32, call: Option<&str>, conversation: Option<&str>) -> CallView {
        let mut document = doc! { "_id": id };
        document.extend(call.map(|call| ("callId".to_owned(), call.into())));
        document.extend(conversation.map(|id| ("conversationId".to_owned(), id.into())));
        CallView::new(document)
    }

    #[test]
    fn documents_that_name_two_of_a_kind_are_not_one_call() {
        let body = json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" }).to_string();
        let (stored_at, origin) = (Timestamp::UNIX_EPOCH, Origin::ElevenLabs);
        let envelope = Envelope::new("e", stored_at, origin);
        let patch = CallPatch::from(parse(&envelope, body.as_bytes()).unwrap());
        #[rustfmt::skip]
        let table = [ // found, whether they contradict
            (vec![],                                                             false),
            (vec![stored(1, Some("c"), None)],                                   false),
            (vec![stored(2, None, Some("v"))],                                   false),
            (vec![stored(1, Some("c"), Some("v"))],                              false),
            (vec![stored(1, Some("c"), None), stored(2, None, Some("v"))],       false),
            (vec![stored(1, Some("c"), Some("w")), stored(2, None, Some("v"))],  true),
            (vec![stored(1, Some("c"), None), stored(2, Some("d"), Some("v"))],  true),
            (vec![stored(2, Some("d"), Some("v"))],                              true),
        ];
        for (found, expected) in table {
            assert_eq!(contradict(&patch, &found), expected, "{found:?}");
        }
    }

    #[test]
    fn links_are_given_up_from_the_weakest_to_the_call_itself() {
        let body = json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" }).to_string();
        let (stored_at, origin) = (Timestamp::UNIX_EPOCH, Origin::ElevenLabs);
        let envelope = Envelope::new("e", stored_at, origin);
        let mut patch = CallPatch::from(parse(&envelope, body.as_bytes()).unwrap());
        patch.placement = Some(Placement { id: PlacementId::new("p").unwrap(), request: None });
        forget_weakest(&mut patch);
        assert!(patch.placement.is_none() && patch.conversation_id.is_some());
        forget_weakest(&mut patch);
        assert!(patch.conversation_id.is_none() && patch.call_id.is_some());
    }
}
