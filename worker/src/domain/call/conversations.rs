//! Calls with several conversations, and documents that turn out to be one call.
//!
//! One telephone call may hold several conversations: it is handed to a person and back, or redirected to
//! another agent. Each conversation has a document of its own. An event that names a conversation, or the
//! placement that led to it, counts for the document of that conversation. An event that names the call alone
//! (a callback of Twilio, a step of a dialler) counts for each conversation of the call. So the document of a
//! conversation is the join of its own events and those of its call, whatever their order.
//!
//! A conversation may become known late. Its document then needs what was said of the call before. Each
//! document therefore keeps this part by itself ([`CallPatch::of_call`]).
//!
//! Of several documents the one with the smallest conversation id answers for the call: it alone has the
//! unique `callId`. All of them have `sharedCallId`. As long as a call has one document, it has no
//! `sharedCallId`.
//!
//! A placement is known to belong to a conversation by an event that names both. Until then it belongs to the
//! document that answers for its call.
//!
//! Pure. `store::merge` does in a transaction what [`join`] says.

use std::collections::BTreeSet;

use super::CallPatch;
use crate::domain::event::ConversationId;

/// What becomes of the documents of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The documents of the call, each once.
    pub documents: Vec<Document>,
    /// How many links were ignored, because they lead to another call.
    pub ignored_links: u32,
    /// The conversation that this patch adds to a call that already had one.
    pub further: Option<ConversationId>,
}

/// One document of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The stored documents that it is made of: the first is kept, the others are joined into it. None: it is new.
    pub from: Vec<usize>,
    /// What it holds.
    pub call: CallPatch,
    /// Whether its call has other documents.
    pub is_shared: bool,
    /// Whether it answers for its call.
    pub is_first: bool,
}

/// Most conversations of one call. A telephone call has a few. A call id that somebody gives to all calls
/// ("unknown") would have all conversations, and each event would concern all of them: beyond the limit a
/// conversation is not linked with the call.
pub const MAX_CONVERSATIONS: usize = 8;

/// Joins `patch` with the documents that its identifiers name and with all other documents of their call.
/// `stored` may hold more than these.
pub fn join(stored: Vec<CallPatch>, mut patch: CallPatch) -> Joined {
    let mut ignored_links = 0;
    if is_one_too_many(&stored, &patch) {
        patch.call_id = None;
        ignored_links += 1;
    }
    let mut home = home(&stored, &patch);
    while contradict(&patch, &home, &stored) {
        patch.forget_weakest_link();
        ignored_links += 1;
        home = self::home(&stored, &patch);
    }
    let mut stored: Vec<_> = stored.into_iter().map(Some).collect();
    let own = patch.conversation_id.clone();
    let is_new = stored.iter().flatten().all(|document| document.conversation_id != own);
    for &n in &home {
        patch.take_in(stored[n].take().expect("each position once"));
    }
    let call_id = patch.call_id.clone();
    let siblings = stored.iter_mut().enumerate().filter_map(|(n, document)| {
        let document = document.take_if(|document| call_id.is_some() && document.call_id == call_id)?;
        Some((vec![n], document))
    });
    let mut documents: Vec<_> = siblings.collect();
    let further = own.filter(|_| is_new && !documents.is_empty());
    // Without a document of its own it counts for those that there are.
    let mut of_call = None;
    if patch.is_linked() || documents.is_empty() {
        documents.insert(0, (home, patch));
    } else {
        of_call = Some(patch);
    }
    let is_shared = documents.len() > 1;
    if is_shared || of_call.is_some() {
        let parts = documents.iter().filter_map(|(_, document)| document.part_of_call()).chain(of_call);
        if let Some(part) = parts.reduce(CallPatch::join) {
            for (_, document) in &mut documents {
                document.take_in(part.clone());
            }
        }
    }
    let rank = |call: &CallPatch| (call.conversation_id.is_none(), call.conversation_id.clone());
    let first = documents.iter().map(|(_, call)| rank(call)).min();
    let documents = documents.into_iter().map(|(from, call)| {
        let is_first = first.as_ref() == Some(&rank(&call));
        Document { from, call, is_shared, is_first }
    });
    Joined { documents: documents.collect(), ignored_links, further }
}

/// Whether `patch` would give a call one conversation more than it may have.
fn is_one_too_many(stored: &[CallPatch], patch: &CallPatch) -> bool {
    let of_call = |document: &&CallPatch| {
        document.call_id.is_some() && document.call_id == patch.call_id && document.conversation_id.is_some()
    };
    let mut of_call = stored.iter().filter(of_call).peekable();
    patch.conversation_id.is_some()
        && of_call.peek().is_some()
        && of_call.clone().all(|document| document.conversation_id != patch.conversation_id)
        && of_call.count() >= MAX_CONVERSATIONS
}

/// The documents that are joined with `patch` into one.
fn home(stored: &[CallPatch], patch: &CallPatch) -> Vec<usize> {
    let placement = patch.placement.as_ref().map(|placement| &placement.id);
    let of_same_call = |document: &CallPatch| document.call_id.is_some() && document.call_id == patch.call_id;
    let is_named = |document: &CallPatch| {
        let conversation = &document.conversation_id;
        (conversation.is_some() && *conversation == patch.conversation_id)
            || (placement.is_some() && document.placement.as_ref().map(|own| &own.id) == placement)
            || (conversation.is_none() && of_same_call(document))
    };
    let mut home: Vec<_> = (0..stored.len()).filter(|&n| is_named(&stored[n])).collect();
    let knows_conversation =
        patch.conversation_id.is_some() || home.iter().any(|&n| stored[n].conversation_id.is_some());
    if placement.is_some() && !knows_conversation {
        let others = (0..stored.len()).filter(|&n| of_same_call(&stored[n]) && !home.contains(&n));
        home.extend(others.min_by_key(|&n| &stored[n].conversation_id));
    }
    home
}

/// Whether patch and documents cannot be one, since they name two of a kind.
fn contradict(patch: &CallPatch, home: &[usize], stored: &[CallPatch]) -> bool {
    fn differ<'a, T: Ord + 'a>(ids: impl Iterator<Item = Option<&'a T>>) -> bool {
        ids.flatten().collect::<BTreeSet<_>>().len() > 1
    }
    let all = || home.iter().map(|&n| &stored[n]).chain([patch]);
    differ(all().map(|one| one.call_id.as_ref()))
        || differ(all().map(|one| one.conversation_id.as_ref()))
        || differ(all().map(|one| one.placement.as_ref().map(|placement| &placement.id)))
}

#[cfg(test)]
mod tests;
