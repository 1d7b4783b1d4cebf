//! Finds a call by its identifiers.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection,
    bson::{Document, doc},
};

use super::{
    call_view::CallView,
    connection::{SERVER_TIME, Store},
    error::StoreError,
};
use crate::domain::event::{CallId, ConversationId};

/// Most conversations of one call that are listed. [`crate::domain::call::conversations::MAX_CONVERSATIONS`]
/// is far below it.
const MAX_CONVERSATIONS: i64 = 100;

impl Store {
    /// The call with one of these identifiers. If the two identifiers name two documents, the call id
    /// decides. If the call has several conversations, the conversation id decides.
    pub async fn find(
        &self,
        call_id: Option<&CallId>,
        conversation_id: Option<&ConversationId>,
    ) -> Result<Option<CallView>, StoreError> {
        let by_call = call_id.map(|id| doc! { "callId": id.as_str() });
        let by_conversation = conversation_id.map(|id| doc! { "conversationId": id.as_str() });
        let mut known = None;
        for filter in by_call.into_iter().chain(by_conversation) {
            let calls = self.calls.clone();
            let found = self.run(async move { calls.find_one(filter).max_time(SERVER_TIME).await }).await?;
            let Some(found) = found.map(CallView::new) else { continue };
            let is_better = known
                .as_ref()
                .is_none_or(|known: &CallView| known.shared_call_id() == found.shared_call_id());
            if is_better {
                known = Some(found);
            }
            if known.as_ref().is_some_and(|known| known.shared_call_id().is_none()) {
                break;
            }
        }
        Ok(known)
    }

    /// The ids of the other conversations of the same telephone call.
    pub async fn other_conversations(&self, call: &CallView) -> Result<Vec<ConversationId>, StoreError> {
        let Some(shared) = call.shared_call_id() else { return Ok(Vec::new()) };
        let found =
            self.run(conversations_of(self.calls.clone(), shared.as_str().to_owned(), SERVER_TIME)).await?;
        Ok(others(call, found))
    }
}

/// The ids of `conversations` without that of `call` itself.
pub(super) fn others(call: &CallView, conversations: Vec<String>) -> Vec<ConversationId> {
    let own = call.conversation_id();
    let ids = conversations.into_iter().filter_map(|id| ConversationId::new(id).ok());
    ids.filter(|id| own.as_ref() != Some(id)).collect()
}

/// The ids of the conversations of the telephone call `shared`, in ascending order. `time`: how long the server may work on
/// it.
pub(super) async fn conversations_of(
    calls: Collection<Document>,
    shared: String,
    time: Duration,
) -> mongodb::error::Result<Vec<String>> {
    let found =
        calls.find(doc! { "sharedCallId": shared }).projection(doc! { "_id": 0, "conversationId": 1 });
    let found = found.sort(doc! { "conversationId": 1 }).limit(MAX_CONVERSATIONS).max_time(time);
    let found: Vec<Document> = found.await?.try_collect().await?;
    Ok(found.iter().filter_map(|call| call.get_str("conversationId").ok().map(str::to_owned)).collect())
}
