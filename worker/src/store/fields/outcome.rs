//! The outcome of a call. The claim with the greatest key prevails. Until the call is over, only the claim is
//! stored.

use mongodb::bson::{
    Document, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use crate::{
    domain::call::{Outcome, OutcomeClaim},
    store::convert::{bson_date, date},
};

/// The outcome of a call that is over.
const OUTCOME: &CStr = cstr!("outcome");
/// The claim: outcome, rank, time and id of the event, and whether the call is over.
pub(super) const CLAIM: &CStr = cstr!("_outcome");

/// Appends the claim, and the outcome if the call is over.
pub(in crate::store) fn append(fields: &mut RawDocumentBuf, claim: &OutcomeClaim) {
    if claim.is_over {
        fields.append(OUTCOME, claim.outcome.as_str());
    }
    fields.append(CLAIM, stored(claim));
}

fn stored(claim: &OutcomeClaim) -> RawDocumentBuf {
    let mut stored = rawdoc! {
        "outcome": claim.outcome.as_str(), "rank": claim.outcome.rank(), "at": bson_date(claim.at),
        "eventId": claim.event_id.as_str(),
    };
    if claim.is_over {
        stored.append(cstr!("isOver"), true);
    }
    stored
}

/// Reads the claim. `None` if the document has no claim, or one that this version does not know.
pub(super) fn read(document: &Document) -> Option<OutcomeClaim> {
    let claim = document.get_document(CLAIM.as_str()).ok()?;
    Some(OutcomeClaim {
        outcome: Outcome::from_word(claim.get_str("outcome").ok()?)?,
        at: date(claim, "at")?,
        event_id: claim.get_str("eventId").ok()?.to_owned(),
        is_over: claim.get_bool("isOver").unwrap_or(false),
    })
}
