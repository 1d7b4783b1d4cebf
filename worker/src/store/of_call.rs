//! `_call`: what is said of a call by events that name no conversation, in the document of a conversation.
//!
//! It makes the document of a conversation that becomes known later: see [`crate::domain::call::conversations`]. Its
//! fields have the names that they have in the document. A document without conversation and placement has no
//! such part, since all of it is of the call.

use mongodb::bson::{Document, RawArrayBuf, RawBson, RawDocumentBuf, raw::CStr, rawdoc};

use super::statement::{UNSTORABLE, Unstorable, append_field, append_status, claims};
use crate::domain::call::{CallPatch, Field, FieldClaim};

/// Its name in the document.
pub(super) const NAME: &str = "_call";

/// Fields of it besides those of [`Field::ALL`].
pub(super) const FIELDS: [&str; 14] = [
    "createdAt",
    "_storedAt",
    "updatedAt",
    "agentId",
    "agentPhoneNumberId",
    "toNumber",
    "parentCallId",
    "transcriptState",
    "_owedSince",
    "_legEnded",
    "status",
    "statusUpdatedAt",
    "failureReason",
    "_status",
];

/// Values of a patch that stand in a statement once and are used twice.
pub(super) struct Values(Option<RawDocumentBuf>);

impl Values {
    /// The expression for a field of the patch and which event gave it.
    pub(super) fn of(&self, field: Field, claim: &FieldClaim) -> Result<RawBson, Unstorable> {
        match &self.0 {
            Some(_) => Ok(format!("$${}", field.name()).into()),
            None => literal(field, claim),
        }
    }

    /// `expression` with the values bound to their names.
    pub(super) fn bind(&self, expression: RawDocumentBuf) -> RawDocumentBuf {
        match &self.0 {
            Some(vars) => rawdoc! { "$let": { "vars": vars.clone(), "in": expression } },
            None => expression,
        }
    }
}

fn literal(field: Field, claim: &FieldClaim) -> Result<RawBson, Unstorable> {
    let mut fields = RawDocumentBuf::new();
    append_field(&mut fields, field, claim)?;
    Ok(rawdoc! { "$literal": fields }.into())
}

/// The values of `patch` that are used twice: those of one that is wholly of the call.
pub(super) fn values(patch: &CallPatch) -> Result<Values, Unstorable> {
    if patch.is_linked() {
        return Ok(Values(None));
    }
    let mut vars = RawDocumentBuf::new();
    for (field, claim) in &patch.fields {
        let name: &CStr = field.name().try_into().map_err(|_error| UNSTORABLE)?;
        vars.append(name, literal(*field, claim)?);
    }
    Ok(Values(Some(vars)))
}

/// The layer of a statement that keeps the part up to date; none where the statement makes no difference to it.
pub(super) fn layer(patch: &CallPatch, values: &Values) -> Result<Option<RawDocumentBuf>, Unstorable> {
    let linked = || {
        rawdoc! { "$or": [{ "$gt": ["$conversationId", RawBson::Null] }, { "$gt": ["$_placementId", RawBson::Null] }] }
    };
    if !patch.is_linked() {
        let joined = part(rawdoc! { "$ifNull": [format!("${NAME}"), {}] }, patch, values)?;
        return Ok(Some(rawdoc! { "$cond": [linked(), { "_call": joined }, {}] }));
    }
    let Some(of_call) = &patch.of_call else {
        // What was wholly of the call becomes the document of a conversation.
        let becomes = rawdoc! { "$and": [{ "$isArray": ["$history"] }, { "$not": [linked()] }] };
        return Ok(Some(rawdoc! { "$cond": [becomes, { "_call": whole() }, {}] }));
    };
    let before = rawdoc! { "$cond": [linked(), { "$ifNull": [format!("${NAME}"), {}] }, whole()] };
    Ok(Some(rawdoc! { "_call": part(before, of_call, &Values(None))? }))
}

/// `before` joined with `of_call`.
fn part(before: RawDocumentBuf, of_call: &CallPatch, values: &Values) -> Result<RawDocumentBuf, Unstorable> {
    let mut layers = RawArrayBuf::new();
    layers.push("$$before");
    for layer in claims("$$before.", of_call, values)? {
        layers.push(layer);
    }
    Ok(rawdoc! { "$let": { "vars": { "before": before }, "in": { "$mergeObjects": layers } } })
}

/// The document as such a part. What is missing in it is missing in the part.
fn whole() -> RawDocumentBuf {
    let mut fields = RawDocumentBuf::new();
    let keys = Field::ALL.iter().flat_map(|field| [field.name(), field.key_name()]);
    for name in FIELDS.into_iter().chain(keys) {
        if let Ok(name) = <&CStr>::try_from(name) {
            fields.append(name, format!("${}", name.as_str()));
        }
    }
    fields
}

/// The part as it is stored where nothing else is known of the call.
pub(super) fn document(of_call: &CallPatch) -> Result<RawDocumentBuf, Unstorable> {
    let mut fields = RawDocumentBuf::new();
    super::insert::append_always(&mut fields, of_call);
    if let Some(claim) = &of_call.status {
        append_status(&mut fields, claim);
    }
    for (name, claim) in &of_call.fields {
        append_field(&mut fields, *name, claim)?;
    }
    Ok(fields)
}

/// Reads the part from the document of a conversation.
pub(super) fn read(call: &Document) -> Option<&Document> {
    call.get_document(NAME).ok()
}
