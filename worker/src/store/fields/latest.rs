//! Fields whose whole value comes from one event. A second field has the key of the event.
//!
//! [`Field`] has the rows.

use mongodb::bson::{Document, RawDocumentBuf, raw::CStr, rawdoc};
use serde_json::Value;

use super::payloads::Payloads;
use crate::{
    domain::call::{Field, FieldClaim},
    store::{
        convert::{append_value, bson_date, bson_to_value, date},
        error::{UNSTORABLE, Unstorable},
    },
};

/// Appends the value and its key.
pub(super) fn append(
    fields: &mut RawDocumentBuf,
    field: Field,
    claim: &FieldClaim,
) -> Result<(), Unstorable> {
    append_value(fields, field.name(), &claim.value).ok_or(UNSTORABLE)?;
    let key: &CStr = field.key_name().try_into().map_err(|_error| UNSTORABLE)?;
    fields.append(key, rawdoc! { "at": bson_date(claim.at), "eventId": claim.event_id.as_str() });
    Ok(())
}

/// Reads the claim. `None` if the document has no such field. Without payloads, the value is null.
pub(super) fn read(document: &Document, field: Field, payloads: Payloads) -> Option<FieldClaim> {
    let key = document.get_document(field.key_name()).ok()?;
    let value = match payloads {
        Payloads::Included => bson_to_value(document.get(field.name())?),
        Payloads::Excluded => Value::Null,
    };
    Some(FieldClaim { at: date(key, "at")?, event_id: key.get_str("eventId").ok()?.to_owned(), value })
}
