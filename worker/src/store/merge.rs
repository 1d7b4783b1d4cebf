//! Two documents that turn out to be one call.
//!
//! Events may know a call by its call id, by its conversation id, or by both. Until one names both,
//! two documents can exist; the statement that would link them fails on a unique index and comes
//! here. One transaction takes the half known by conversation away and joins it into the other, so
//! that at no time a reader sees a call twice or a worker loses one.

use std::time::Duration;

use mongodb::{
    ClientSession, Collection,
    bson::{Document, doc},
    error::{Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, WriteFailure},
};

use super::{
    CallView, Store, StoreError,
    statement::{Key, pipeline},
};
use crate::{call::CallPatch, event::CallId};

/// Tries of one transaction among others that touch the same call.
const MAX_TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// What to do with a patch that names both identifiers.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// One document at most: an ordinary statement by this key links it.
    Link(Key),
    /// Both halves exist: take away the second and join it into the first.
    Join,
    /// The conversation belongs to another call. The event still belongs to the call it names.
    Contradiction,
}

/// Applies a patch whose statement collided with a unique index.
///
/// # Errors
/// [`StoreError::Refused`] concerns this call alone.
pub(super) async fn apply(store: &Store, patch: CallPatch) -> std::result::Result<(), StoreError> {
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
    let by_call = patch.call_id.clone().map(Key::Call);
    let by_conversation = patch.conversation_id.clone().map(Key::Conversation);
    let first = find(session, calls, by_call.as_ref()).await?;
    let second = find(session, calls, by_conversation.as_ref()).await?;
    let (key, half) = match plan(&patch, first.as_ref(), second.as_ref()) {
        Some(Plan::Link(key)) => (key, None),
        Some(Plan::Contradiction) => {
            let call_id = patch.call_id.as_ref().map(CallId::as_str);
            tracing::warn!(call_id, "an event links this call to a conversation of another; link ignored");
            patch.conversation_id = None;
            (by_call.ok_or_else(|| Error::custom("a contradiction names a call"))?, None)
        }
        Some(Plan::Join) => {
            let half = second.ok_or_else(|| Error::custom("a join has two halves"))?;
            let whole = half.to_patch().ok_or_else(|| Error::custom("a half is not understood"))?;
            patch = patch.join(whole);
            calls.delete_one(doc! { "_id": half.key() }).session(&mut *session).await?;
            (by_call.ok_or_else(|| Error::custom("a join names a call"))?, Some(half.into_fields()))
        }
        None => return session.abort_transaction().await, // Names no call: refused before it came here.
    };
    let stages = pipeline(&patch, half).map_err(|(_, why)| Error::custom(why))?;
    calls.update_one(key.filter(), stages).upsert(true).session(&mut *session).await?;
    session.commit_transaction().await
}

/// Decides from what is stored under either identifier.
fn plan(patch: &CallPatch, by_call: Option<&CallView>, by_conversation: Option<&CallView>) -> Option<Plan> {
    let key = Key::of(patch)?;
    let (Some(call_id), Some(conversation_id)) = (&patch.call_id, &patch.conversation_id) else {
        return Some(Plan::Link(key));
    };
    let Some(half) = by_conversation else { return Some(Plan::Link(key)) };
    if half.call_id().is_some_and(|other| other != *call_id) {
        return Some(Plan::Contradiction);
    }
    Some(match by_call {
        None => Plan::Link(Key::Conversation(conversation_id.clone())),
        Some(call) if call.key() == half.key() => Plan::Link(key),
        Some(call) if call.conversation_id().is_some() => Plan::Contradiction,
        Some(_) => Plan::Join,
    })
}

async fn find(
    session: &mut ClientSession,
    calls: &Collection<Document>,
    key: Option<&Key>,
) -> Result<Option<CallView>> {
    let Some(key) = key else { return Ok(None) };
    Ok(calls.find_one(key.filter()).session(session).await?.map(CallView::new))
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
    use crate::event::{ConversationId, Envelope, parse};

    fn stored(id: i32, call: Option<&str>, conversation: Option<&str>) -> CallView {
        let mut document = doc! { "_id": id };
        document.extend(call.map(|call| ("callId".to_owned(), call.into())));
        document.extend(conversation.map(|id| ("conversationId".to_owned(), id.into())));
        CallView::new(document)
    }

    #[test]
    fn every_pair_of_halves_has_a_plan() {
        let body = json!({ "event_type": "call.busy", "call_id": "c", "conversation_id": "v" }).to_string();
        let envelope = Envelope { id: "e".to_owned(), stored_at: Timestamp::UNIX_EPOCH };
        let patch = CallPatch::from(parse(&envelope, body.as_bytes()).unwrap());
        let by_call = || Plan::Link(Key::Call(CallId::new("c").unwrap()));
        let by_conversation = || Plan::Link(Key::Conversation(ConversationId::new("v").unwrap()));
        #[rustfmt::skip]
        let table = [ // found by call, found by conversation, plan
            (None,                             None,                             by_call()),
            (Some(stored(1, Some("c"), None)), None,                             by_call()),
            (None,                             Some(stored(2, None, Some("v"))), by_conversation()),
            (Some(stored(1, Some("c"), Some("v"))), Some(stored(1, Some("c"), Some("v"))), by_call()),
            (Some(stored(1, Some("c"), None)), Some(stored(2, None, Some("v"))), Plan::Join),
            (Some(stored(1, Some("c"), Some("w"))), Some(stored(2, None, Some("v"))), Plan::Contradiction),
            (Some(stored(1, Some("c"), None)), Some(stored(2, Some("d"), Some("v"))), Plan::Contradiction),
            (None,                             Some(stored(2, Some("d"), Some("v"))), Plan::Contradiction),
        ];
        for (first, second, expected) in table {
            assert_eq!(plan(&patch, first.as_ref(), second.as_ref()), Some(expected), "{first:?} {second:?}");
        }
    }
}
