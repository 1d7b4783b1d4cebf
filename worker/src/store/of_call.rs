//! `_call`: the part of a conversation's document that comes from events which name the telephone call alone.
//!
//! When a further conversation of the call becomes known, its document is made from this part: see
//! [`crate::domain::call::conversations`]. The fields of the part have the same names as in the document. A
//! document without conversation and placement has no such part, because all its events name the call alone.

use mongodb::bson::{Document, RawBson, RawDocumentBuf, rawdoc};

use super::{
    error::Unstorable,
    fields::{self, Scope},
};
use crate::domain::call::CallPatch;

/// Name of the part in the document.
pub(super) const NAME: &str = "_call";

/// The expression that joins `patch` with the document and with the part.
///
/// # Errors
/// A value that BSON cannot hold.
pub(super) fn joined(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    if patch.is_linked() { joined_with_document(patch) } else { joined_with_both(patch) }
}

/// The patch belongs to one conversation or placement: it changes the document. If it also has the part of a
/// further conversation, that is joined with the part of the document.
fn joined_with_document(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut layers = vec![fields::document_layer(patch)?];
    layers.extend(fields::call_layers("$", patch)?);
    layers.push(if let Some(of_call) = &patch.of_call {
        let before = rawdoc! { "$cond": [is_linked(), stored_part(), whole()] };
        let part = fields::merged("$$before", fields::call_layers("$$before.", of_call)?);
        rawdoc! { "_call": { "$let": { "vars": { "before": before }, "in": part } } }
    } else {
        rawdoc! { "$cond": [becomes_linked(), { "_call": whole() }, {}] }
    });
    Ok(fields::merged("$$ROOT", layers))
}

/// The patch names the call alone: it changes the document, and the part if the document has one.
///
/// Both are joined by the same expressions. MongoDB parses each expression again for every statement, which
/// takes more time than to evaluate it, so the statement holds them once.
fn joined_with_both(patch: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let document = rawdoc! { "$mergeObjects": ["$$ROOT", fields::document_layer(patch)?] };
    let part = rawdoc! { "$cond": [is_linked(), [stored_part()], []] };
    let both = rawdoc! { "$concatArrays": [[document], part] };
    let join = fields::merged("$$stored", fields::call_layers("$$stored.", patch)?);
    let joined = rawdoc! { "$map": { "input": both, "as": "stored", "in": join } };
    let part = rawdoc! { "$cond": [is_linked(), { "_call": { "$last": "$$joined" } }, {}] };
    let document = rawdoc! { "$mergeObjects": [{ "$first": "$$joined" }, part] };
    Ok(rawdoc! { "$let": { "vars": { "joined": joined }, "in": document } })
}

/// Whether the document belongs to a conversation or placement.
fn is_linked() -> RawDocumentBuf {
    rawdoc! { "$gt": [{ "$ifNull": ["$conversationId", "$_placementId", RawBson::Null] }, RawBson::Null] }
}

/// Whether the document does not yet belong to a conversation or placement, and is not new: all its events
/// name the call alone. The ids are texts, and the history is an array.
fn becomes_linked() -> RawDocumentBuf {
    rawdoc! { "$isArray": [{ "$ifNull": ["$conversationId", "$_placementId", "$history"] }] }
}

fn stored_part() -> RawDocumentBuf {
    rawdoc! { "$ifNull": [format!("${NAME}"), {}] }
}

/// An expression that makes such a part of a document whose events all name the call alone.
fn whole() -> RawBson {
    let without = |part: RawBson, name| rawdoc! { "$unsetField": { "field": name, "input": part } }.into();
    ["_id", "callId", "history", "revision"].into_iter().fold("$$ROOT".into(), without)
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
