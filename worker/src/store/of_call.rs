//! `_call`: the part of a conversation's document that holds what is known of the telephone call alone.
//!
//! Events that name no conversation fill it. When a further conversation of the call becomes known, its
//! document is made from this part: see [`crate::domain::call::conversations`]. The fields of the part have
//! the names that they have in the document. A document without conversation and placement has no such part,
//! because the whole document is of the call.

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
        // The document was wholly of the call, and becomes the document of a conversation.
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

/// The whole document as such a part. A field that is missing in the document is missing in the part.
fn whole() -> RawDocumentBuf {
    let mut part = RawDocumentBuf::new();
    for name in fields::names(Scope::Call) {
        part.append(name, format!("${name}"));
    }
    part
}

/// The part of a document of which nothing else is known.
pub(super) fn document(of_call: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut part = RawDocumentBuf::new();
    fields::append(&mut part, of_call, Scope::Call)?;
    Ok(part)
}

/// Reads the part from the document of a conversation.
pub(super) fn read(call: &Document) -> Option<CallPatch> {
    fields::read(call.get_document(NAME).ok()?, Scope::Call)
}
