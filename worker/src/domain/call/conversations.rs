//! Decides how a patch changes the documents of a call with several conversations, and which documents it
//! merges.
//!
//! A telephone call has several conversations if it is transferred to a person and back, or redirected to
//! another agent. Each conversation has a document of its own.
//!
//! - An event that names a conversation or its placement counts for the document of that conversation.
//! - An event that names only the call counts for every conversation of the call. Examples are a callback of
//!   Twilio and a step of a dialler.
//!
//! So the document of a conversation is the join of its own events and of the events of its call. The order
//! of the events does not matter.
//!
//! A conversation may become known after some events of its call. Its document then needs these earlier
//! events. So each document keeps the part that comes from events of the call: [`CallPatch::call_part`].
//!
//! If a call has several documents, all of them have `sharedCallId`, and only the first one has the unique
//! `callId`. The first document is the one with the smallest conversation id. A call with one document has no
//! `sharedCallId`.
//!
//! An event that names both a placement and a conversation links the two. Before this event, the placement
//! belongs to the first document of its call.
//!
//! Pure: `store::merge` performs in a transaction what [`join`] returns.

use std::collections::BTreeSet;

use super::CallPatch;
use crate::domain::event::ConversationId;

/// The documents of a call after a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The documents of the call, each once.
    pub documents: Vec<Document>,
    /// Number of links of the patch that were ignored: they lead to another call, or the call has
    /// [`MAX_CONVERSATIONS`] already.
    pub ignored_links: u32,
    /// The conversation that the patch adds to a call that has another conversation already.
    pub added_conversation: Option<ConversationId>,
}

/// One document of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Positions of the stored documents that become this document. The first one stays, and the others are
    /// merged into it. Empty for a new document.
    pub from: Vec<usize>,
    /// Its content.
    pub call: CallPatch,
    /// Whether its call has other documents.
    pub is_shared: bool,
    /// Whether it has the unique `callId`.
    pub is_first: bool,
}

/// Most conversations of one call. A real call has a few. But a sender may give the same call id, such as
/// "unknown", to all its calls. Each event would then change all of their conversations. Beyond the limit, a
/// conversation is not linked with the call.
pub const MAX_CONVERSATIONS: usize = 8;

/// Joins `patch` with the documents that its identifiers name, and with the other documents of their call.
/// `stored` holds these documents. It may also hold documents that the patch does not concern.
pub fn join(stored: Vec<CallPatch>, mut patch: CallPatch) -> Joined {
    let mut ignored_links = 0;
    if exceeds_limit(&stored, &patch) {
        patch.call_id = None;
        ignored_links += 1;
    }
    let mut own = own_documents(&stored, &patch);
    while contradict(&patch, &own, &stored) {
        patch.forget_weakest_link();
        ignored_links += 1;
        own = own_documents(&stored, &patch);
    }
    let mut stored: Vec<_> = stored.into_iter().map(Some).collect();
    let conversation = patch.conversation_id.clone();
    let is_new = stored.iter().flatten().all(|document| document.conversation_id != conversation);
    for &n in &own {
        patch.merge(stored[n].take().expect("each position once"));
    }
    let call_id = patch.call_id.clone();
    let siblings = stored.iter_mut().enumerate().filter_map(|(n, document)| {
        let document = document.take_if(|document| call_id.is_some() && document.call_id == call_id)?;
        Some((vec![n], document))
    });
    let mut documents: Vec<_> = siblings.collect();
    let added_conversation = conversation.filter(|_| is_new && !documents.is_empty());
    // A patch that names only the call has no document of its own. It changes the documents of all
    // conversations of the call.
    let mut call_event = None;
    if patch.is_linked() || documents.is_empty() {
        documents.insert(0, (own, patch));
    } else {
        call_event = Some(patch);
    }
    let is_shared = documents.len() > 1;
    if is_shared || call_event.is_some() {
        let parts = documents.iter().filter_map(|(_, document)| document.part_of_call()).chain(call_event);
        if let Some(part) = parts.reduce(CallPatch::join) {
            for (_, document) in &mut documents {
                document.merge(part.clone());
            }
        }
    }
    let rank = |call: &CallPatch| (call.conversation_id.is_none(), call.conversation_id.clone());
    let first = documents.iter().map(|(_, call)| rank(call)).min();
    let documents = documents.into_iter().map(|(from, call)| {
        let is_first = first.as_ref() == Some(&rank(&call));
        Document { from, call, is_shared, is_first }
    });
    Joined { documents: documents.collect(), ignored_links, added_conversation }
}

/// Whether `patch` would add a conversation to a call that already has [`MAX_CONVERSATIONS`].
fn exceeds_limit(stored: &[CallPatch], patch: &CallPatch) -> bool {
    let is_sibling = |document: &&CallPatch| {
        document.call_id.is_some() && document.call_id == patch.call_id && document.conversation_id.is_some()
    };
    let mut siblings = stored.iter().filter(is_sibling).peekable();
    patch.conversation_id.is_some()
        && siblings.peek().is_some()
        && siblings.clone().all(|document| document.conversation_id != patch.conversation_id)
        && siblings.count() >= MAX_CONVERSATIONS
}

/// The positions of the documents that are merged with `patch` into one.
fn own_documents(stored: &[CallPatch], patch: &CallPatch) -> Vec<usize> {
    let placement = patch.placement.as_ref().map(|placement| &placement.id);
    let of_same_call = |document: &CallPatch| document.call_id.is_some() && document.call_id == patch.call_id;
    let is_named = |document: &CallPatch| {
        let conversation = &document.conversation_id;
        (conversation.is_some() && *conversation == patch.conversation_id)
            || (placement.is_some() && document.placement.as_ref().map(|own| &own.id) == placement)
            || (conversation.is_none() && of_same_call(document))
    };
    let mut own: Vec<_> = (0..stored.len()).filter(|&n| is_named(&stored[n])).collect();
    let knows_conversation =
        patch.conversation_id.is_some() || own.iter().any(|&n| stored[n].conversation_id.is_some());
    if placement.is_some() && !knows_conversation {
        let others = (0..stored.len()).filter(|&n| of_same_call(&stored[n]) && !own.contains(&n));
        own.extend(others.min_by_key(|&n| &stored[n].conversation_id));
    }
    own
}

/// Whether `patch` and its `own` documents cannot become one document: together they name two calls, two
/// conversations or two placements.
fn contradict(patch: &CallPatch, own: &[usize], stored: &[CallPatch]) -> bool {
    fn differ<'a, T: Ord + 'a>(ids: impl Iterator<Item = Option<&'a T>>) -> bool {
        ids.flatten().collect::<BTreeSet<_>>().len() > 1
    }
    let all = || own.iter().map(|&n| &stored[n]).chain([patch]);
    differ(all().map(|one| one.call_id.as_ref()))
        || differ(all().map(|one| one.conversation_id.as_ref()))
        || differ(all().map(|one| one.placement.as_ref().map(|placement| &placement.id)))
}

#[cfg(test)]
mod tests;
