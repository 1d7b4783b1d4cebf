//! Fields whose whole value comes from one event. A second field has the key of the event. The latest event
//! prevails.
//!
//! [`Field`] has the rows.

use mongodb::bson::{Document, RawDocumentBuf, raw::CStr, rawdoc};

use super::literal::literal;
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

/// An expression: the value of `claim` and its key if the event is later than the stored event, else an empty
/// object.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn layer(within: &str, field: Field, claim: &FieldClaim) -> Result<RawDocumentBuf, Unstorable> {
    let key = field.key_name();
    let is_newer = rawdoc! { "$gt": [
        [bson_date(claim.at), literal(&claim.event_id)],
        [format!("{within}{key}.at"), format!("{within}{key}.eventId")],
    ] };
    let mut value = RawDocumentBuf::new();
    append(&mut value, field, claim)?;
    Ok(rawdoc! { "$cond": [is_newer, { "$literal": value }, {}] })
}

/// Reads the claim. `None` if the document has no such field.
pub(super) fn read(document: &Document, field: Field) -> Option<FieldClaim> {
    let key = document.get_document(field.key_name()).ok()?;
    Some(FieldClaim {
        at: date(key, "at")?,
        event_id: key.get_str("eventId").ok()?.to_owned(),
        value: bson_to_value(document.get(field.name())?),
    })
}
