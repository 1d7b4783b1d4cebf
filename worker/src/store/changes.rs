//! Computes which documents of a call a patch changes, and their new content. Pure.

use std::collections::HashSet;

use jiff::Timestamp;
use mongodb::{
    bson::{Bson, Document},
    error::{Error, Result},
};

use super::{call_view::CallView, insert, revision};
use crate::domain::call::{
    CallPatch,
    conversations::{self, Joined},
};

/// The documents that change: the stored and the new form of each. A document that loses the unique `callId`
/// comes before the document that gets it. `now` is the time of the change.
pub(super) fn changes<'a>(
    found: &'a [CallView],
    joined: &Joined,
    patch: &CallPatch,
    now: Timestamp,
) -> Result<Vec<(Option<&'a Document>, Document)>> {
    let mut changed = Vec::new();
    for one in &joined.documents {
        let mut document = document(found, one)?;
        let kept = one.from.first().map(|&n| found[n].document());
        // As in an update, an event changes a document once.
        let has_events = one.from.len() == 1
            && patch.changes_once()
            && patch.history.iter().all(|entry| stored_events(kept).contains(entry.event_id.as_str()));
        let is_same =
            kept.is_some_and(|kept| *kept == document || (has_events && ids(kept) == ids(&document)));
        if !is_same {
            let before = one.from.iter().filter_map(|&n| revision::read(found[n].document()));
            document.insert(revision::NAME.as_str(), revision::next(before, now));
            changed.push((kept, document));
        }
    }
    changed.sort_by_key(|(_, document)| document.contains_key("callId"));
    Ok(changed)
}

fn stored_events(call: Option<&Document>) -> HashSet<&str> {
    let history = call.and_then(|call| call.get_array("history").ok());
    let entries = history.into_iter().flatten().filter_map(Bson::as_document);
    entries.filter_map(|entry| entry.get_str("eventId").ok()).collect()
}

fn ids(call: &Document) -> [Option<&Bson>; 4] {
    ["callId", "sharedCallId", "conversationId", "_placementId"].map(|field| call.get(field))
}

/// The document to be stored. A field that no event brings keeps its value: the value of the kept document,
/// or else the value of the first other document that has the field.
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
