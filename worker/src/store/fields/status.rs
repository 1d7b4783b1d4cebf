//! The status of a call: four fields. The claim with the greatest key sets all of them.

use mongodb::bson::{
    Document, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::history::text_or_null;
use crate::{
    domain::call::{Status, StatusClaim},
    store::convert::{bson_date, date},
};

const STATUS: &CStr = cstr!("status");
pub(super) const UPDATED_AT: &CStr = cstr!("statusUpdatedAt");
const FAILURE_REASON: &CStr = cstr!("failureReason");
/// Rank of the status, and id of the event that claimed it.
pub(super) const KEY: &CStr = cstr!("_status");

/// Appends the four fields.
pub(in crate::store) fn append(fields: &mut RawDocumentBuf, claim: &StatusClaim) {
    fields.append(STATUS, claim.status.as_str());
    fields.append(UPDATED_AT, bson_date(claim.at));
    fields.append(FAILURE_REASON, text_or_null(claim.failure_reason.as_deref()));
    let key = rawdoc! { "rank": claim.status.rank(), "eventId": claim.event_id.as_str() };
    fields.append(KEY, key);
}

/// Reads the claim. `None` if the document has no status, or one that this version does not know.
pub(super) fn read(document: &Document) -> Option<StatusClaim> {
    Some(StatusClaim {
        status: Status::from_word(document.get_str(STATUS.as_str()).ok()?)?,
        at: date(document, UPDATED_AT.as_str())?,
        event_id: document.get_document(KEY.as_str()).ok()?.get_str("eventId").ok()?.to_owned(),
        failure_reason: document.get_str(FAILURE_REASON.as_str()).ok().map(str::to_owned),
    })
}
