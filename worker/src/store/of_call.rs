//! `_call`: the part of a conversation's document that comes from events which name the telephone call alone.
//!
//! When a further conversation of the call becomes known, its document is made from this part: see
//! [`crate::domain::call::conversations`]. The fields of the part have the same names as in the document. A
//! document without conversation and placement has no such part, because all its events name the call alone.

use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, rawdoc};

use super::{
    error::Unstorable,
    fields::{self, Bindings, Scope},
};
use crate::domain::call::CallPatch;

/// Name of the part in the document.
pub(super) const NAME: &str = "_call";

/// The layer of a statement that keeps the part up to date. `None` if the statement does not change the part.
pub(super) fn layer(patch: &CallPatch, bindings: &Bindings) -> Result<Option<RawDocumentBuf>, Unstorable> {
    let linked = || {
        rawdoc! { "$or": [{ "$gt": ["$conversationId", RawBson::Null] }, { "$gt": ["$_placementId", RawBson::Null] }] }
    };
    if !patch.is_linked() {
        let joined = join(rawdoc! { "$ifNull": [format!("${NAME}"), {}] }, patch, bindings)?;
        return Ok(Some(rawdoc! { "$cond": [linked(), { "_call": joined }, {}] }));
    }
    let Some(of_call) = &patch.of_call else {
        // Until now, all events of the document named the call alone. Now it becomes the document of a
        // conversation.
        let becomes = rawdoc! { "$and": [{ "$isArray": ["$history"] }, { "$not": [linked()] }] };
        return Ok(Some(rawdoc! { "$cond": [becomes, { "_call": whole() }, {}] }));
    };
    let before = rawdoc! { "$cond": [linked(), { "$ifNull": [format!("${NAME}"), {}] }, whole()] };
    Ok(Some(rawdoc! { "_call": join(before, of_call, &Bindings::NONE)? }))
}

/// The part `before`, joined with `of_call`.
fn join(
    before: RawDocumentBuf,
    of_call: &CallPatch,
    bindings: &Bindings,
) -> Result<RawDocumentBuf, Unstorable> {
    let mut layers = RawArrayBuf::new();
    layers.push("$$before");
    for layer in fields::layers("$$before.", of_call, Scope::Call, bindings)? {
        layers.push(layer);
    }
    Ok(rawdoc! { "$let": { "vars": { "before": before }, "in": { "$mergeObjects": layers } } })
}

/// An expression that copies the whole document into such a part. A field that is missing in the document is
/// missing in the part.
fn whole() -> RawDocumentBuf {
    let mut part = RawDocumentBuf::new();
    for name in fields::names(Scope::Call) {
        part.append(name, format!("${name}"));
    }
    part
}

/// The part `_call` of a new document.
pub(super) fn document(of_call: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut part = RawDocumentBuf::new();
    fields::append(&mut part, of_call, Scope::Call)?;
    Ok(part)
}

/// Reads the part from the document of a conversation.
pub(super) fn read(call: &Document) -> Option<CallPatch> {
    fields::read(call.get_document(NAME).ok()?, Scope::Call)
}
