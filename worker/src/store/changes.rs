//! Computes which documents of a call a patch changes, and their new content. Pure.

use jiff::Timestamp;
use mongodb::{
    bson::{Bson, Document},
    error::{Error, Result},
};

use super::{call_view::CallView, insert, revision};
#[cfg(doc)]
use crate::domain::call::CallPatch;
use crate::domain::call::conversations::{self, Joined};

/// The documents that change: the stored and the new form of each. A document that loses the unique `callId`
/// comes before the document that gets it. `known`: for each of `found`, whether it has all events of the patch already, see
/// [`CallPatch::is_known_to`]. `now` is the time of the change.
pub(super) fn changes<'a>(
    found: &'a [CallView],
    joined: &Joined,
    known: &[bool],
    now: Timestamp,
) -> Result<Vec<(Option<&'a Document>, Document)>> {
    let mut changed = Vec::new();
    for one in &joined.documents {
        let mut document = document(found, one)?;
        let kept = one.from.first().map(|&n| found[n].document());
        let is_known = one.from.len() == 1 && known[one.from[0]];
        let is_same = kept.is_some_and(|kept| *kept == document || (is_known && ids(kept) == ids(&document)));
        if !is_same {
            let before = one.from.iter().filter_map(|&n| revision::read(found[n].document()));
            document.insert(revision::NAME.as_str(), revision::next(before, now));
            changed.push((kept, document));
        }
    }
    changed.sort_by_key(|(_, document)| document.contains_key("callId"));
    Ok(changed)
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
