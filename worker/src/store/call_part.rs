//! `_call`: the part of a conversation's document that comes from events which name the telephone call alone.
//!
//! When a further conversation of the call becomes known, its document is made from this part: see
//! [`crate::domain::call::conversations`]. The fields of the part have the same names as in the document. A
//! document without conversation and placement has no such part, because all its events name the call alone.

use mongodb::bson::{
    Document, RawBson, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    error::Unstorable,
    fields::{self, Payloads, Scope},
};
use crate::domain::call::CallPatch;

/// Name of the part in the document.
pub(super) const NAME: &CStr = cstr!("_call");

/// The fields of a document that such a part does not have.
const WITHOUT: [&str; 4] = ["_id", "callId", "history", "revision"];

/// An expression: the whole document as such a part, with the fields `changed`. The events of the document all name the
/// call alone.
pub(super) fn copied(changed: RawDocumentBuf) -> RawDocumentBuf {
    let without = |part: RawBson, name| rawdoc! { "$unsetField": { "field": name, "input": part } }.into();
    let whole = WITHOUT.into_iter().fold("$$ROOT".into(), without);
    rawdoc! { "$mergeObjects": [whole, { "$literal": changed }] }
}

/// The part `_call` of a document.
pub(super) fn document(call_part: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut part = RawDocumentBuf::new();
    fields::append(&mut part, call_part, Scope::Call)?;
    Ok(part)
}

/// Reads the part from the document of a conversation.
pub(super) fn read(call: &Document, payloads: Payloads) -> Option<CallPatch> {
    fields::read(call.get_document(NAME.as_str()).ok()?, Scope::Call, payloads)
}
